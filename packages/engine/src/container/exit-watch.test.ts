import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime } from "../testing/pass-time.ts";
import { exitEvent, ExitWatch, type ExitWatchDeps } from "./exit-watch.ts";

/** A running container on a fake node, with its own watch, whose parts the test may change. */
async function newWatch(t: TestContext, over: Partial<ExitWatchDeps> = {}) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const client = clientOf(node);
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  const deps = node.restart();
  const { containers } = deps;
  const released: string[] = [];
  const release = (each: string) => (released.push(each), Promise.resolve());
  const reported: string[] = [];
  const onExit = (reason: string) => void reported.push(reason);
  const watch = new ExitWatch({ ...deps, release, onExit, ...over });
  const record = (): ContainerRecord => containers.get(id)!;
  return { node, id, podId, watch, record, containers, released, reported };
}

const exitOf = ({ state }: ContainerRecord) =>
  state.is === "exited" ? { exitCode: state.exitCode, reason: state.reason } : state.is;

test("the end of a container is recorded as its monitor wrote it, and then it is released", async (t) => {
  const { node, id, watch, record, released, reported } = await newWatch(t);
  watch.watch(record());
  await node.quiet();
  assert.equal(exitOf(record()), "running");
  node.exit(id, 3);
  await node.quiet();
  assert.deepEqual(exitOf(record()), { exitCode: 3, reason: "Error" });
  assert.deepEqual(released, [id]);
  assert.deepEqual(reported, ["Error"]);
});

test("the time of the end is the monitor's, not when it was noticed", async (t) => {
  const { node, id, watch, record } = await newWatch(t);
  watch.watch(record());
  node.exit(id, 0);
  const { finishedAtNs } = node.exitReports.get(id)!;
  await node.quiet();
  const { state } = record();
  assert.ok(state.is === "exited" && state.finishedAtNs === finishedAtNs);
});

const commandProblem = {
  exitCode: 127 as const,
  message: "the command is a script for the interpreter /x, which the container does not have",
};
for (const [how, exitCode, ranForNs, expected] of [
  ["with an error because its command cannot be executed says so", 1, 0n, [127, "StartError", commandProblem.message]],
  ["well says that, whatever its command looks like", 0, 0n, [0, "Completed", ""]],
  ["by a signal says that, whatever its command looks like", 137, 0n, [137, "Error", ""]],
  ["after it ran says that, whatever its command looks like", 1, 11_000_000_000n, [1, "Error", ""]],
] as const) {
  test(`one that ended ${how}`, async (t) => {
    const { node, id, watch, record } = await newWatch(t);
    node.commandProblem = commandProblem;
    watch.watch(record());
    node.exit(id, exitCode);
    const report = node.exitReports.get(id)!;
    node.exitReports.set(id, { ...report, finishedAtNs: report.finishedAtNs + ranForNs });
    await node.quiet();
    const { state } = record();
    assert.ok(state.is === "exited");
    assert.deepEqual([state.exitCode, state.reason, state.message], expected);
  });
}

test("the end of one whose monitor ended before it was watched is recorded, but not within the call", async (t) => {
  const { node, id, watch, record } = await newWatch(t);
  node.exit(id, 0);
  watch.watch(record());
  assert.equal(exitOf(record()), "running");
  await node.quiet();
  assert.deepEqual(exitOf(record()), { exitCode: 0, reason: "Completed" });
});

test("what a dead monitor leaves running is killed, and the end has a reason", async (t) => {
  const { node, id, watch, record } = await newWatch(t);
  watch.watch(record());
  node.killMonitor(id);
  await node.quiet();
  assert.deepEqual(exitOf(record()), { exitCode: 137, reason: "MonitorLost" });
  assert.deepEqual(node.running("main"), []);
});

test("watching twice is like watching once", async (t) => {
  const { node, id, watch, record, released } = await newWatch(t);
  watch.watch(record());
  watch.watch(record());
  node.exit(id, 0);
  await node.quiet();
  assert.deepEqual(released, [id]);
});

test("an exited container is not watched, and the end of a forgotten one is not recorded", async (t) => {
  const { node, id, watch, record, released } = await newWatch(t);
  watch.watch(record());
  watch.forget(id);
  watch.forget(id);
  node.exit(id, 0);
  await node.quiet();
  assert.equal(exitOf(record()), "running");
  watch.watch(record());
  await node.quiet();
  assert.deepEqual(exitOf(record()), { exitCode: 0, reason: "Completed" });
  const before = node.effects.length;
  watch.watch(record());
  await node.quiet();
  assert.equal(node.effects.length, before);
  assert.deepEqual(released, [id]);
});

test("a failure to record is logged and tried again until it works", async (t) => {
  const { node, id, watch, record } = await newWatch(t);
  watch.watch(record());
  node.fate = (effect) => (effect === "database put containers" ? "fails" : "works");
  node.exit(id, 4);
  for (let seconds = 0; seconds < 3; seconds += 1) {
    await node.quiet();
    assert.equal(exitOf(record()), "running");
    t.mock.timers.tick(1000);
  }
  node.fate = () => "works";
  await node.quiet();
  t.mock.timers.tick(1000);
  await node.quiet();
  assert.deepEqual(exitOf(record()), { exitCode: 4, reason: "Error" });
  assert.match(node.logged[0]!, /cannot be recorded; trying again in a second: injected fault/);
});

test("one that is forgotten between two tries is not tried again", async (t) => {
  const { node, id, watch, record } = await newWatch(t);
  watch.watch(record());
  node.fate = () => "fails";
  node.exit(id, 4);
  await node.quiet();
  watch.forget(id);
  const before = node.effects.length;
  t.mock.timers.tick(5000);
  await node.quiet();
  assert.equal(node.effects.length, before);
});

test("removing a container while its end is being looked into is no error", async (t) => {
  const { node, id, watch, record, containers } = await newWatch(t);
  watch.watch(record());
  node.fate = (effect) => (effect === "container-host kill" ? "hangs" : "works");
  node.exit(id, 0);
  await node.quiet();
  containers.delete(id);
  node.release();
  await node.quiet();
  t.mock.timers.tick(5000);
  await turn();
  assert.deepEqual(node.logged, []);
});

test("a release that fails is logged and changes nothing", async (t) => {
  const { node, id, watch, record } = await newWatch(t, {
    release: () => Promise.reject(new Error("no release today")),
  });
  watch.watch(record());
  node.exit(id, 0);
  await node.quiet();
  assert.deepEqual(exitOf(record()), { exitCode: 0, reason: "Completed" });
  assert.match(node.logged.join("\n"), /no release today/);
});

test("an end is recorded even when its cause cannot be found out, because looking at the command or the kernel's log fails", async (t) => {
  const { node, id, containers } = await newWatch(t);
  const { containerHost } = node.deps;
  const fails = (what: string) => () => {
    throw new Error(`ELOOP: ${what}`);
  };
  const blind = { ...containerHost, outOfMemory: fails("kmsg"), commandProblem: fails("binfmt_misc") };
  const record = containers.get(id)!;
  assert.ok(record.state.is === "running");
  node.exit(id, 126);
  node.exitReports.set(id, { exitCode: 126, finishedAtNs: 5n, oomKilled: false });
  const event = await exitEvent({ ...node.deps, containerHost: blind }, record);
  assert.deepEqual(event, { type: "exited", exitCode: 126, reason: "Error", message: "", atNs: 5n });
});

test("a container of which nobody knows whether it runs is unknown, with its runtime's words", async (t) => {
  const { node, watch, record, id } = await newWatch(t);
  const { runtime } = node.deps.runtimes.handlerOf("crun");
  runtime.exitOf = () => Promise.resolve({ lost: "its shim was killed" });
  watch.watch(record());
  node.exit(id, 0);
  await node.quiet();
  assert.deepEqual(record().state, { is: "unknown", message: "its shim was killed" });
});

test("a memory kill is looked for when the container failed and had a limit, or ended by SIGKILL", async (t) => {
  const { node, id, containers } = await newWatch(t);
  const limited = {
    ...containers.get(id)!,
    resources: LinuxContainerResources.fromPartial({ memoryLimitInBytes: 1n << 20n }),
  };
  node.exit(id, 0);
  const suspected: boolean[] = [];
  const containerHost = {
    ...node.deps.containerHost,
    outOfMemory: (_: string, isSuspected: boolean) => (suspected.push(isSuspected), undefined),
  };
  const end = (record: ContainerRecord, exitCode: number) => {
    node.exitReports.set(id, { exitCode, finishedAtNs: 5n, oomKilled: false });
    return exitEvent({ ...node.deps, containerHost }, record);
  };
  for (const exitCode of [0, 3, 137]) await end(limited, exitCode);
  for (const exitCode of [3, 137]) await end(containers.get(id)!, exitCode);
  assert.deepEqual(suspected, [false, true, true, false, true]);
});
