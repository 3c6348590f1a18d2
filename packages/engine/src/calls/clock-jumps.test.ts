// Somebody sets the machine's clock, by an hour forward or back, at each moment of a pod's life.
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { ContainerState, type ContainerStatus } from "@keelson/cri/gen/runtime/v1/api.ts";
import { recover } from "../recovery/recovery.ts";
import { type Client, clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";

const ownPid = { linux: { security_context: { namespace_options: { pid: "CONTAINER" } } } };
const secondPod = { ...ownPid, metadata: { name: "web", namespace: "default", uid: "u1", attempt: 1 } };
const secondContainer = { metadata: { name: "app", attempt: 1 } };

function newNode(t: TestContext) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  return { node, client: clientOf(node), inTime: <T>(call: Promise<T>) => passTime(t.mock.timers, call) };
}

function assertInOrder({ id, createdAt, startedAt, finishedAt, state }: ContainerStatus, wasStarted: boolean): void {
  assert.equal(state, ContainerState.CONTAINER_EXITED);
  assert.ok(finishedAt >= createdAt, `${id} ended before it was created`);
  if (!wasStarted) return assert.equal(startedAt, 0n);
  assert.ok(startedAt >= createdAt && finishedAt >= startedAt, `${id}: ${createdAt} ${startedAt} ${finishedAt}`);
}

/**
 * One pod twice over, as a kubelet makes it, with containers that end in every way; with what a kubelet concludes from
 * times.
 */
async function life(node: FakeNode, client: Client, inTime: <T>(call: Promise<T>) => Promise<T>): Promise<void> {
  const podId = await inTime(client.runPod(ownPid));
  const first = await inTime(client.createContainer(podId));
  await inTime(client.startContainer(first));
  node.exit(first, 3);
  await node.quiet();
  const second = await inTime(client.createContainer(podId, secondContainer));
  await inTime(client.startContainer(second));
  const neverStarted = await inTime(client.createContainer(podId, { metadata: { name: "other" } }));
  node.restart();
  await inTime(recover(node.deps));
  await inTime(client.stopContainer(second));
  await inTime(client.stopPod(podId));
  const nextPodId = await inTime(client.runPod(secondPod));
  const third = await inTime(client.createContainer(nextPodId, { metadata: { name: "app", attempt: 2 } }));
  const created = async (id: string) => (await client.containerStatus(id)).createdAt;
  const pod = await client.podStatus(podId);
  for (const id of [first, second]) assertInOrder(await client.containerStatus(id), true);
  assertInOrder(await client.containerStatus(neverStarted), false);
  const times = [
    pod.createdAt,
    await created(first),
    await created(second),
    await created(neverStarted),
    (await client.podStatus(nextPodId)).createdAt,
    await created(third),
  ];
  assert.deepEqual(
    times,
    times.toSorted((a, b) => (a < b ? -1 : 1)),
    "a kubelet takes the newest for the one that counts",
  );
  assert.equal(new Set(times).size, times.length);
  for (const id of [podId, nextPodId]) await inTime(client.removePod(id));
  await node.quiet();
  assert.deepEqual(node.left(), []);
}

for (const seconds of [3600, -3600]) {
  test(`a clock that jumps by ${seconds} s at any effect turns no times around, keeps the newest newest and loses nothing`, async (t) => {
    const effects = await lifeWithJump(t, -1, seconds);
    assert.ok(effects > 30, String(effects));
    for (let at = 0; at < effects; at += 1) await lifeWithJump(t, at, seconds);
  });
}

test("a clock that swings between hours at every effect does neither", async (t) => {
  const { node, client, inTime } = newNode(t);
  node.fate = (_, index) => {
    node.jumpClock(index % 2 === 0 ? -3600 : 1800);
    return "works";
  };
  await life(node, client, inTime);
});

/** Returns how many effects there were. */
async function lifeWithJump(t: TestContext, at: number, seconds: number): Promise<number> {
  t.mock.timers.reset();
  const { node, client, inTime } = newNode(t);
  node.fate = (_, index) => {
    if (index === at) node.jumpClock(seconds);
    return "works";
  };
  await life(node, client, inTime);
  return node.effects.length;
}

test("a creation lingers for its retry, and a grace period lasts, by a clock that nobody can set", async (t) => {
  const { node, inTime } = newNode(t);
  const now = Date.now();
  let offsetMs = 0;
  t.mock.method(Date, "now", () => now + offsetMs);
  node.fate = (effect) => (effect === "network attach" ? "hangs" : "works");
  const gone = new AbortController();
  const abandoned = clientOf(node, gone.signal).runPod();
  for (let i = 0; i < 10; i += 1) await turn();
  gone.abort(new DOMException("late", "TimeoutError"));
  await assert.rejects(abandoned, /attach to network podnet: .* \(running for 0\.\d s\)/);
  offsetMs = 24 * 3_600_000;
  t.mock.timers.tick(1000);
  const retry = clientOf(node).runPod();
  node.fate = () => "works";
  node.release();
  const podId = await inTime(retry);
  assert.equal(node.lives, 0);
  assert.equal(node.effects.filter((effect) => effect === "network attach").length, 1);

  const client = clientOf(node);
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  node.endsBy = () => false;
  let hasEnded = false;
  const stop = client.stopContainer(id, 30n).then(() => (hasEnded = true));
  for (const jumpMs of [3_600_000, -3_600_000]) {
    offsetMs += jumpMs;
    t.mock.timers.tick(10_000);
    for (let i = 0; i < 10; i += 1) await turn();
    assert.equal(hasEnded, false, "the grace period was cut short");
  }
  await inTime(stop);
});
