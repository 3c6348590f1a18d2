import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";

async function newNode(t: TestContext) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const client = clientOf(node);
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  return { node, client, podId, id, inTime: <T>(call: Promise<T>) => passTime(t.mock.timers, call) };
}

async function isPending(node: FakeNode, call: Promise<unknown>): Promise<boolean> {
  let isDone = false;
  const done = () => (isDone = true);
  call.then(done, done);
  await node.quiet();
  return !isDone;
}

test("a container that heeds its stop signal ends by it", async (t) => {
  const { node, client, id } = await newNode(t);
  await client.stopContainer(id, 30n);
  assert.equal((await client.containerStatus(id)).exitCode, 128 + 15);
  assert.equal(node.effects.filter((effect) => effect === "runtime signal").length, 1);
});

test("one that does not is killed when the grace period is over, and not before", async (t) => {
  const { node, client, id } = await newNode(t);
  node.endsBy = () => false;
  const stop = client.stopContainer(id, 30n);
  await node.quiet();
  t.mock.timers.tick(29_999);
  assert.ok(await isPending(node, stop));
  t.mock.timers.tick(1);
  await stop;
  assert.equal((await client.containerStatus(id)).exitCode, 137);
});

test("a grace period of 0 kills at once, one that is beyond any timer waits as long as a timer can", async (t) => {
  const { node, client, podId, id } = await newNode(t);
  node.endsBy = () => assert.fail("no signal but SIGKILL");
  await client.stopContainer(id, 0n);
  const other = await client.createContainer(podId, { metadata: { name: "other" } });
  await client.startContainer(other);
  node.endsBy = () => false;
  const stop = client.stopContainer(other, 2n ** 63n - 1n);
  assert.ok(await isPending(node, stop));
  t.mock.timers.tick(2 ** 31 - 2);
  assert.ok(await isPending(node, stop));
  node.exit(other, 0);
  await stop;
});

test("one that was never started is killed without a grace period", async (t) => {
  const { node, client, podId } = await newNode(t);
  const id = await client.createContainer(podId, { metadata: { name: "other" } });
  node.endsBy = () => assert.fail("nobody is there to handle a signal");
  await client.stopContainer(id, 30n);
  assert.equal((await client.containerStatus(id)).state, ContainerState.CONTAINER_EXITED);
});

test("during the grace period the pod's other containers can be created, started, stopped and removed", async (t) => {
  const { node, client, podId, id } = await newNode(t);
  const other = await client.createContainer(podId, { metadata: { name: "other" } });
  await client.startContainer(other);
  node.endsBy = (containerId) => containerId !== id;
  const stop = client.stopContainer(id, 30n);
  await node.quiet();
  await client.stopContainer(other, 10n);
  await client.removeContainer(other);
  await client.startContainer(await client.createContainer(podId, { metadata: { name: "third" } }));
  assert.ok(await isPending(node, stop));
  assert.equal((await client.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
  t.mock.timers.tick(30_000);
  await stop;
});

test("a stop with less grace overtakes one that waits", async (t) => {
  const { node, client, id } = await newNode(t);
  node.endsBy = () => false;
  const patient = client.stopContainer(id, 300n);
  await node.quiet();
  await client.stopContainer(id, 0n);
  await patient;
});

test("a container's own end during the grace period ends the stop", async (t) => {
  const { node, client, id } = await newNode(t);
  node.endsBy = () => false;
  const stop = client.stopContainer(id, 300n);
  await node.quiet();
  node.exit(id, 5);
  await stop;
  assert.equal((await client.containerStatus(id)).exitCode, 5);
});

test("ends are noted while a call holds the pod's lock", async (t) => {
  const { node, client, podId, id, inTime } = await newNode(t);
  node.fate = (effect) => (effect === "runtime create" ? "hangs" : "works");
  const create = client.createContainer(podId, { metadata: { name: "hung" } });
  await node.quiet();
  node.exit(id, 4);
  await node.quiet();
  const { state, exitCode } = await client.containerStatus(id);
  assert.deepEqual([state, exitCode], [ContainerState.CONTAINER_EXITED, 4]);
  await client.stopContainer(id, 10n);
  node.release();
  await inTime(create);
});

test("a client's deadline during the grace period says so; the stop goes on, and the retry joins it without a second signal", async (t) => {
  const { node, client, id } = await newNode(t);
  node.endsBy = () => false;
  const abort = new AbortController();
  const stop = clientOf(node, abort.signal).stopContainer(id, 30n);
  await node.quiet();
  abort.abort(new DOMException("late", "TimeoutError"));
  await assert.rejects(stop, (error: unknown) => {
    assert.ok(error instanceof StatusError && error.code === Code.DeadlineExceeded);
    assert.match(
      error.message,
      new RegExp(`during: wait up to 30 s for container ${id} to end after SIGTERM \\(running for \\d`),
    );
    return true;
  });
  assert.equal((await client.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
  t.mock.timers.tick(20_000);
  const retry = client.stopContainer(id, 30n);
  assert.ok(await isPending(node, retry));
  t.mock.timers.tick(10_000);
  await retry;
  assert.equal(
    node.effects.filter((effect) => effect === "runtime signal").length,
    2,
    "SIGTERM and SIGKILL, once each",
  );
});

test("the grace period over, a stop whose client went away kills all the same", async (t) => {
  const { node, client, id } = await newNode(t);
  node.endsBy = () => false;
  const abort = new AbortController();
  const stop = clientOf(node, abort.signal).stopContainer(id, 30n);
  await node.quiet();
  abort.abort();
  await assert.rejects(stop);
  t.mock.timers.tick(30_000);
  await node.quiet();
  assert.equal((await client.containerStatus(id)).exitCode, 137);
});

test("one that cannot be killed is told of, does not hold up others, and can be stopped later", async (t) => {
  const { node, client, podId, id, inTime } = await newNode(t);
  node.isUnkillable = true;
  await assert.rejects(inTime(client.stopContainer(id, 0n)), /still there/);
  await assert.rejects(inTime(client.removeContainer(id)), /still there/);
  node.isUnkillable = false;
  await client.createContainer(podId, { metadata: { name: "other" } });
  await client.stopContainer(id, 0n);
  await inTime(client.removeContainer(id));
});

test("a monitor that never tells of the end makes the stop fail with its deadline, not hang", async (t) => {
  const { node, client, id, inTime } = await newNode(t);
  node.exitsUnnoticed = true;
  await assert.rejects(
    inTime(client.stopContainer(id, 1n)),
    (error: unknown) =>
      error instanceof StatusError && error.code === Code.DeadlineExceeded && error.message.includes(id),
  );
});

test("when a monitor is killed, its container is ended and listed with the reason", async (t) => {
  const { node, client, id } = await newNode(t);
  node.killMonitor(id);
  await node.quiet();
  const { state, reason, exitCode } = await client.containerStatus(id);
  assert.deepEqual([state, reason, exitCode], [ContainerState.CONTAINER_EXITED, "MonitorLost", 137]);
  assert.deepEqual(node.running("main"), []);
});

test("when a pod's init dies, its containers end and the pod is not ready", async (t) => {
  const { node, client, podId, id } = await newNode(t);
  node.killInit(podId);
  await node.quiet();
  assert.equal((await client.podStatus(podId)).state, 1);
  assert.equal((await client.containerStatus(id)).state, ContainerState.CONTAINER_EXITED);
  assert.equal(node.attachments.size, 0);
});
