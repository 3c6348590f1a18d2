import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { ContainerState, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";
import { containerStatus } from "./container-status.ts";

function newNode(t: TestContext) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const client = clientOf(node);
  const inTime = <T>(call: Promise<T>) => passTime(t.mock.timers, call);
  return { node, client, inTime };
}

function hasCode(code: Code, text = /./) {
  return (error: unknown) => error instanceof StatusError && error.code === code && text.test(error.message);
}

const unknown = "f".repeat(64);
const ownPid = { linux: { security_context: { namespace_options: { pid: "CONTAINER" } } } };

test("stops and removes succeed for what is not there and when they are repeated", async (t) => {
  const { node, client, inTime } = newNode(t);
  for (const call of [client.stopContainer, client.removeContainer, client.stopPod, client.removePod])
    assert.deepEqual(await call(unknown), {});
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  for (const call of [client.stopContainer, client.removeContainer])
    for (let i = 0; i < 3; i += 1) await inTime(call(id));
  for (const call of [client.stopPod, client.removePod]) for (let i = 0; i < 3; i += 1) await inTime(call(podId));
  assert.deepEqual(node.left(), []);
});

test("the same stop or remove from several clients at once is one", async (t) => {
  const { node, client, inTime } = newNode(t);
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  node.turns = () => 2;
  await inTime(
    Promise.all([
      client.stopContainer(id, 1n),
      client.stopContainer(id),
      client.removeContainer(id),
      client.removeContainer(id),
    ]),
  );
  await inTime(
    Promise.all([client.stopPod(podId), client.removePod(podId), client.stopPod(podId), client.removePod(podId)]),
  );
  await node.quiet();
  assert.deepEqual(node.left(), []);
  assert.deepEqual(node.logged, []);
});

test("removing a pod removes what runs in it", async (t) => {
  const { node, client, inTime } = newNode(t);
  const podId = await client.runPod();
  await client.startContainer(await client.createContainer(podId));
  await inTime(client.removePod(podId));
  await node.quiet();
  assert.deepEqual(node.left(), []);
});

test("a stopped pod is listed as not ready, keeps its ended containers and takes no more", async (t) => {
  const { node, client, inTime } = newNode(t);
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  await inTime(client.stopPod(podId));
  assert.equal((await client.podStatus(podId)).state, PodSandboxState.SANDBOX_NOTREADY);
  assert.equal((await client.containerStatus(id)).exitCode, 137);
  await assert.rejects(client.createContainer(podId, { metadata: { name: "late" } }), hasCode(Code.FailedPrecondition));
  assert.deepEqual(node.running("init"), []);
  assert.equal(node.attachments.size, 0);
});

test("RunPodSandbox again with the same config gives the same pod, whatever the order of its maps", async (t) => {
  const { node, client } = newNode(t);
  const id = await client.runPod({ labels: { a: "1", b: "2" }, annotations: { x: "1", y: "2" } });
  node.effects.length = 0;
  assert.equal(await client.runPod({ labels: { b: "2", a: "1" }, annotations: { y: "2", x: "1" } }), id);
  assert.deepEqual(node.effects, []);
});

test("RunPodSandbox with another config, handler or after a stop says that the name is taken", async (t) => {
  const { client, inTime } = newNode(t);
  const id = await client.runPod();
  const taken = hasCode(Code.AlreadyExists, new RegExp(id));
  await assert.rejects(client.runPod({ labels: { a: "1" } }), taken);
  await assert.rejects(client.runPod({}, "runc"), taken);
  await inTime(client.stopPod(id));
  await assert.rejects(client.runPod(), taken);
  await client.runPod({ metadata: { name: "web", namespace: "default", uid: "u1", attempt: 1 } });
  await inTime(client.removePod(id));
  assert.notEqual(await client.runPod(), id);
});

test("CreateContainer again gives the created container, but not a started one or one of another pod", async (t) => {
  const { client, inTime } = newNode(t);
  const podId = await client.runPod();
  const id = await client.createContainer(podId, { labels: { a: "1", b: "2" } });
  assert.equal(await client.createContainer(podId, { labels: { b: "2", a: "1" } }), id);
  await assert.rejects(
    client.createContainer(podId, { labels: { a: "2" } }),
    hasCode(Code.AlreadyExists, new RegExp(id)),
  );
  await inTime(client.stopPod(podId));
  const nextPod = await client.runPod({ metadata: { name: "web", namespace: "default", uid: "u1", attempt: 1 } });
  await assert.rejects(client.createContainer(nextPod, { labels: { a: "1", b: "2" } }), hasCode(Code.AlreadyExists));
  const other = await client.createContainer(nextPod, { metadata: { name: "app", attempt: 1 } });
  await client.startContainer(other);
  await assert.rejects(
    client.createContainer(nextPod, { metadata: { name: "app", attempt: 1 } }),
    hasCode(Code.AlreadyExists),
  );
});

test("only a created container can be started, and once", async (t) => {
  const { client, inTime } = newNode(t);
  const id = await client.createContainer(await client.runPod());
  await client.startContainer(id);
  await assert.rejects(client.startContainer(id), hasCode(Code.FailedPrecondition, /running/));
  await inTime(client.stopContainer(id));
  await assert.rejects(client.startContainer(id), hasCode(Code.FailedPrecondition, /exited/));
});

test("a start that races a stop is told so, at each moment of it, and the container has ended by the stop", async (t) => {
  let refused = 0;
  for (let turns = 0; turns < 12; turns += 1) {
    t.mock.timers.reset();
    const { node, client, inTime } = newNode(t);
    const id = await client.createContainer(await client.runPod(ownPid));
    node.turns = () => 4;
    const start = client.startContainer(id).then(
      () => undefined,
      (error: unknown) => error,
    );
    for (let i = 0; i < turns; i += 1) await turn();
    await inTime(client.stopContainer(id));
    const error = await inTime(start);
    if (error !== undefined) assert.ok(hasCode(Code.FailedPrecondition, /stopped|exited/)(error), messageOf(error));
    if (messageOf(error).includes("stopped or killed in the meantime")) refused += 1;
    await node.quiet();
    const status = await client.containerStatus(id);
    assert.deepEqual([status.state, status.exitCode, status.reason], [ContainerState.CONTAINER_EXITED, 137, "Error"]);
  }
  assert.ok(refused > 0);
});

test("a command that cannot be executed makes a container that has ended; its start and status say why, and it can be removed", async (t) => {
  const { node, client } = newNode(t);
  node.commandProblem = { exitCode: 127, message: 'the command "/nope" does not exist' };
  node.fate = (effect) => (effect === "runtime create" ? "fails" : "works");
  const id = await client.createContainer(await client.runPod());
  const { status } = await containerStatus(node.deps, { containerId: id, verbose: false });
  assert.deepEqual(
    [status?.state, status?.exitCode, status?.reason, status?.message],
    [ContainerState.CONTAINER_EXITED, 127, "StartError", 'the command "/nope" does not exist'],
  );
  await assert.rejects(
    client.startContainer(id),
    hasCode(Code.FailedPrecondition, /^start container \w+: the command "\/nope" does not exist$/),
  );
  await client.removeContainer(id);
  assert.ok(!node.left().some((thing) => thing.includes(id)), node.left().join("\n"));
});

test("starting a container from two clients at once starts it once", async (t) => {
  const { node, client } = newNode(t);
  const id = await client.createContainer(await client.runPod());
  node.turns = () => 1;
  const results = await Promise.allSettled([client.startContainer(id), client.startContainer(id)]);
  assert.deepEqual(results.map((r) => r.status).sort(), ["fulfilled", "rejected"]);
  assert.equal((await client.containerStatus(id)).state, 1);
});

const calls = {
  RunPodSandbox: (client: ReturnType<typeof clientOf>) => client.runPod(ownPid),
  CreateContainer: async (client: ReturnType<typeof clientOf>) =>
    client.createContainer((await client.listPods()).find((p) => p.metadata?.name === "home")?.id ?? ""),
};

for (const [name, call] of Object.entries(calls)) {
  const hangIn = name === "RunPodSandbox" ? "network attach" : "runtime create";

  test(`${name}: a retry joins the call that is under way, also after its client went away`, async (t) => {
    const { node, client, inTime } = newNode(t);
    await client.runPod({ metadata: { name: "home", namespace: "default", uid: "u2" } });
    node.fate = (effect) => (effect === hangIn ? "hangs" : "works");
    const abort = new AbortController();
    const first = call(clientOf(node, abort.signal));
    const second = call(client);
    await node.quiet();
    abort.abort(new DOMException("the client's deadline is over", "TimeoutError"));
    await assert.rejects(
      first,
      hasCode(
        Code.DeadlineExceeded,
        name === "RunPodSandbox"
          ? /attach to network podnet: plugin bridge: ADD \(running for/
          : /create the container with crun \(running for/,
      ),
    );
    const third = call(client);
    node.effects.length = 0;
    node.fate = () => "works";
    node.release();
    const [a, b] = await inTime(Promise.all([second, third]));
    assert.equal(a, b);
    assert.equal(await call(client), a);
  });

  test(`${name}: when the only client goes away the call goes on and the retry gets its result`, async (t) => {
    const { node, client, inTime } = newNode(t);
    await client.runPod({ metadata: { name: "home", namespace: "default", uid: "u2" } });
    node.fate = (effect) => (effect === hangIn ? "hangs" : "works");
    const abort = new AbortController();
    const first = call(clientOf(node, abort.signal));
    await node.quiet();
    abort.abort(new DOMException("the client went away", "AbortError"));
    await assert.rejects(first, hasCode(Code.Cancelled));
    node.release();
    node.fate = () => "works";
    await node.quiet();
    const effects = node.effects.length;
    const id = await inTime(call(client));
    assert.match(id, /^[0-9a-f]{64}$/);
    assert.equal(node.effects.length, effects, "the retry did nothing of its own");
  });

  test(`${name}: one that hangs and that nobody asks for again is undone, and the name is free`, async (t) => {
    const { node, client, inTime } = newNode(t);
    const home = await client.runPod({ metadata: { name: "home", namespace: "default", uid: "u2" } });
    await node.quiet();
    const before = node.left();
    node.fate = (effect) => (effect === hangIn ? "hangs" : "works");
    const abort = new AbortController();
    const first = call(clientOf(node, abort.signal));
    await node.quiet();
    abort.abort(new DOMException("the client went away", "AbortError"));
    await assert.rejects(first, hasCode(Code.Cancelled));
    t.mock.timers.tick(61_000);
    await node.quiet();
    assert.deepEqual(
      node.left().filter((thing) => !thing.startsWith("cgroup")),
      before.filter((thing) => !thing.startsWith("cgroup")),
    );
    node.fate = () => "works";
    await inTime(call(client));
    for (const { id } of await client.listPods()) await inTime(client.removePod(id));
    assert.ok(home);
    assert.deepEqual(node.left(), []);
  });

  test(`${name}: while one config of a name is being made, another one waits or is refused, and nothing mixes`, async (t) => {
    const { node, client, inTime } = newNode(t);
    await client.runPod({ metadata: { name: "home", namespace: "default", uid: "u2" } });
    node.turns = () => 3;
    const other =
      name === "RunPodSandbox"
        ? client.runPod({ ...ownPid, labels: { other: "1" } })
        : client.createContainer((await client.listPods())[0]!.id, { labels: { other: "1" } });
    const results = await inTime(Promise.allSettled([call(client), other]));
    const refused = results.filter((r) => r.status === "rejected");
    assert.equal(refused.length, 1);
    assert.ok(hasCode(Code.AlreadyExists)(refused[0]!.reason), String(refused[0]!.reason));
  });
}

test("StopPodSandbox while a container is being created waits for it and takes it down", async (t) => {
  const { node, client, inTime } = newNode(t);
  const podId = await client.runPod();
  node.fate = (effect) => (effect === "runtime create" ? "hangs" : "works");
  const create = client.createContainer(podId);
  await node.quiet();
  const stop = client.stopPod(podId);
  await node.quiet();
  node.release();
  const id = await inTime(create);
  await inTime(stop);
  assert.deepEqual(node.running("main"), []);
  assert.equal((await client.containerStatus(id)).state, 2);
  await inTime(client.removePod(podId));
  await turn();
  await node.quiet();
  assert.deepEqual(node.left(), []);
});

test("RemovePodSandbox while a client waits to create a container: that finds no pod", async (t) => {
  const { node, client, inTime } = newNode(t);
  const podId = await client.runPod();
  node.turns = () => 3;
  const results = await inTime(Promise.allSettled([client.removePod(podId), client.createContainer(podId)]));
  await node.quiet();
  assert.equal(results[0].status, "fulfilled");
  if (results[1].status === "rejected") assert.ok(hasCode(Code.NotFound)(results[1].reason), String(results[1].reason));
  assert.deepEqual(node.left(), []);
});
