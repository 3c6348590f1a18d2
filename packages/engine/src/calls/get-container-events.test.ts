import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import {
  type ContainerEventResponse,
  ContainerEventType,
  ContainerState,
  PodSandboxState,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { noTally, type Tally } from "../tally.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";
import { createHandlers } from "./handlers.ts";

function newNode(t: TestContext, tally: Tally = noTally) {
  mockTime(t.mock);
  const node = new FakeNode(tally);
  t.after(() => node[Symbol.dispose]());
  return { node, client: clientOf(node) };
}

/** Follows events; `wait` delays the client before each. */
function follow(t: TestContext, node: FakeNode, wait: () => Promise<void> = () => Promise.resolve()) {
  const abort = new AbortController();
  const events: ContainerEventResponse[] = [];
  const write = async (event: ContainerEventResponse) => {
    await wait();
    events.push(event);
  };
  const ended = createHandlers(node.deps)
    .getContainerEvents({}, write, abort.signal)
    .then(
      () => undefined,
      (error: unknown) => error,
    );
  t.after(() => abort.abort());
  const names = ["created", "started", "stopped", "deleted"];
  /** Such as `created 3`: the type, and the first digits of the id. */
  const seen = () =>
    events.map((event) => `${names[event.containerEventType]!} ${Number.parseInt(event.containerId.slice(0, 8), 16)}`);
  return { events, seen, ended, abort };
}

test("events describe the life of a pod and its container in order", async (t) => {
  const { node, client } = newNode(t);
  const { events, seen } = follow(t, node);
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  node.exit(id, 3);
  await node.quiet();
  await client.removeContainer(id);
  await passTime(t.mock.timers, client.stopPod(podId));
  await passTime(t.mock.timers, client.removePod(podId));
  await node.quiet();
  assert.deepEqual(seen(), [
    "created 1",
    "started 1",
    "created 2",
    "started 2",
    "stopped 2",
    "deleted 2",
    "stopped 1",
    "deleted 1",
  ]);
  const stopped = events[4]!;
  assert.equal(stopped.podSandboxStatus?.state, PodSandboxState.SANDBOX_READY);
  assert.deepEqual(
    stopped.containersStatuses.map((c) => [c.id, c.state, c.exitCode]),
    [[id, ContainerState.CONTAINER_EXITED, 3]],
  );
  const deleted = events[5]!;
  assert.deepEqual([deleted.podSandboxStatus?.id, deleted.containersStatuses], [podId, []]);
  assert.equal(events[6]!.podSandboxStatus?.state, PodSandboxState.SANDBOX_NOTREADY);
  assert.equal(events[7]!.podSandboxStatus, undefined);
});

test("a client that connects late gets the events that led to the current state, with their times", async (t) => {
  const { node, client } = newNode(t);
  const podId = await client.runPod();
  const running = await client.createContainer(podId);
  await client.startContainer(running);
  const ended = await client.createContainer(podId, { metadata: { name: "ended" } });
  await client.startContainer(ended);
  node.exit(ended, 0);
  await client.createContainer(podId, { metadata: { name: "created" } });
  await node.quiet();
  const { events, seen } = follow(t, node);
  await node.quiet();
  assert.deepEqual(seen(), [
    "created 1",
    "started 1",
    "created 2",
    "started 2",
    "created 3",
    "started 3",
    "stopped 3",
    "created 4",
  ]);
  const status = await client.containerStatus(ended);
  const ofEnded = events.filter((event) => event.containerId === ended);
  assert.deepEqual(
    ofEnded.map((event) => event.createdAt),
    [status.createdAt, status.startedAt, status.finishedAt],
  );
  node.exit(running, 1);
  await node.quiet();
  assert.equal(seen().at(-1), "stopped 2");
});

test("after a restart of the daemon a client gets the same events first", async (t) => {
  const { node, client } = newNode(t);
  const podId = await client.runPod();
  await client.startContainer(await client.createContainer(podId));
  const before = follow(t, node);
  await node.quiet();
  node.restart();
  const after = follow(t, node);
  await node.quiet();
  assert.deepEqual(after.seen(), before.seen());
});

test("what fails on the way causes no event", async (t) => {
  const { node, client } = newNode(t);
  const { seen } = follow(t, node);
  node.fate = (effect) => (effect === "network attach" ? "fails" : "works");
  await assert.rejects(client.runPod());
  node.fate = () => "works";
  const podId = await client.runPod();
  node.fate = (effect) => (effect === "runtime create" ? "fails" : "works");
  await assert.rejects(client.createContainer(podId));
  await node.quiet();
  assert.deepEqual(seen(), ["created 2", "started 2"]);
});

test("several clients get the same events", async (t) => {
  const { node, client } = newNode(t);
  const [one, two] = [follow(t, node), follow(t, node)];
  const podId = await client.runPod();
  one.abort.abort();
  await client.createContainer(podId);
  await node.quiet();
  assert.deepEqual(one.seen(), two.seen().slice(0, 2));
  assert.equal(two.seen().length, 3);
});

test("a client that does not read gets an error instead of missing events, is counted, and does not slow the others", async (t) => {
  let dropped = 0;
  const { node, client } = newNode(t, {
    ...noTally,
    dropped: (what, count = 1) => void (what === "events" && (dropped += count)),
  });
  const held = Promise.withResolvers<void>();
  const slow = follow(t, node, () => held.promise);
  const quick = follow(t, node);
  for (let i = 0; i < 300; i += 1) {
    const podId = await client.runPod({ metadata: { name: `p${i}`, namespace: "default", uid: String(i) } });
    await passTime(t.mock.timers, client.removePod(podId));
  }
  await node.quiet();
  assert.equal(quick.seen().length, 1200);
  held.resolve();
  const error = await slow.ended;
  assert.ok(error instanceof StatusError && error.code === Code.ResourceExhausted, String(error));
  assert.ok(slow.seen().length <= 1, "nothing after a gap");
  assert.ok(dropped >= 1100 && dropped < 1300, `${dropped} events were dropped`);
});

test("a stop that is seen before the start is recorded is one event, and no start follows it", async (t) => {
  const { node, client } = newNode(t);
  const { seen, events } = follow(t, node);
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  node.exitsAtOnce = 0;
  await client.startContainer(id);
  await node.quiet();
  const ofContainer = seen().slice(2);
  assert.ok(["created 2,stopped 2", "created 2,started 2,stopped 2"].includes(ofContainer.join()), ofContainer.join());
  assert.equal(events.at(-1)?.containerEventType, ContainerEventType.CONTAINER_STOPPED_EVENT);
});
