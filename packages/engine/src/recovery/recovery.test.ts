import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ContainerState, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { exitsDir } from "@keelson/runtimes/runtime-paths.ts";
import { bundleDir, containerDir, podDir } from "../records/paths.ts";
import { type Client, clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";
import { recover } from "./recovery.ts";

const { CONTAINER_CREATED: created, CONTAINER_RUNNING: running, CONTAINER_EXITED: exited } = ContainerState;

function newNode(t: TestContext) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const inTime = <T>(call: Promise<T>) => passTime(t.mock.timers, call);
  const restart = async (bootId?: string) => {
    await inTime(recover(node.restart(bootId === undefined ? {} : { bootId })));
    await node.quiet();
  };
  return { node, client: clientOf(node), inTime, restart };
}

/** Everything can be removed, and then nothing is there. */
async function assertAllGoes({ node, client, inTime }: ReturnType<typeof newNode>): Promise<void> {
  for (const { id } of node.deps.pods.all()) await inTime(client.removePod(id));
  await node.quiet();
  assert.deepEqual(node.left(), []);
}

interface ContainerCase {
  /** Up to where the container came. */
  brought: "created" | "running";
  /** What happens to it while no daemon is there. */
  meanwhile: (node: FakeNode, id: string) => void;
  same: { state: ContainerState; reason: string; exitCode: number; runs: boolean };
}

const main = (node: FakeNode, id: string) =>
  [...node.processes.values()].find((p) => p.kind === "main" && p.ownerId === id)!;

const containerCases: Record<string, ContainerCase> = {
  "a created one": {
    brought: "created",
    meanwhile: () => {},
    same: { state: created, reason: "", exitCode: 0, runs: true },
  },
  "one whose start was not noted": {
    brought: "created",
    meanwhile: (node, id) => void (main(node, id).isStarted = true),
    same: { state: running, reason: "", exitCode: 0, runs: true },
  },
  "one whose start was not noted and that has ended": {
    brought: "created",
    meanwhile: (node, id) => {
      main(node, id).isStarted = true;
      node.exit(id, 3);
    },
    same: { state: exited, reason: "Error", exitCode: 3, runs: false },
  },
  "a created one without its monitor": {
    brought: "created",
    meanwhile: (node, id) => node.killMonitor(id),
    same: { state: exited, reason: "MonitorLost", exitCode: 137, runs: false },
  },
  "a running one": {
    brought: "running",
    meanwhile: () => {},
    same: { state: running, reason: "", exitCode: 0, runs: true },
  },
  "one that has ended well": {
    brought: "running",
    meanwhile: (node, id) => node.exit(id, 0),
    same: { state: exited, reason: "Completed", exitCode: 0, runs: false },
  },
  "one that has failed": {
    brought: "running",
    meanwhile: (node, id) => node.exit(id, 9),
    same: { state: exited, reason: "Error", exitCode: 9, runs: false },
  },
  "one that ran out of memory": {
    brought: "running",
    meanwhile: (node, id) => {
      node.oomKilled = true;
      node.exit(id, 137);
    },
    same: { state: exited, reason: "OOMKilled", exitCode: 137, runs: false },
  },
  "a running one without its monitor": {
    brought: "running",
    meanwhile: (node, id) => node.killMonitor(id),
    same: { state: exited, reason: "MonitorLost", exitCode: 137, runs: false },
  },
};

async function bring(client: Client, to: ContainerCase["brought"]): Promise<{ podId: string; id: string }> {
  const podId = await client.runPod();
  const id = await client.createContainer(podId);
  if (to === "running") await client.startContainer(id);
  return { podId, id };
}

for (const [name, { brought, meanwhile, same }] of Object.entries(containerCases)) {
  test(`${name} is found as it is, watched and removable`, async (t) => {
    const all = newNode(t);
    const { node, client, restart, inTime } = all;
    const { podId, id } = await bring(client, brought);
    node.restart();
    meanwhile(node, id);
    await restart();
    const { state, reason, exitCode, finishedAt, startedAt } = await client.containerStatus(id);
    assert.deepEqual({ state, reason, exitCode, runs: node.running("main").includes(id) }, same);
    assert.equal((await client.podStatus(podId)).state, PodSandboxState.SANDBOX_READY);
    assert.equal(finishedAt > 0n, state === exited);
    if (same.runs) {
      if (state === created) await client.startContainer(id);
      assert.ok((await client.containerStatus(id)).startedAt >= startedAt);
      node.exit(id, 21);
      await node.quiet();
      assert.equal((await client.containerStatus(id)).exitCode, 21, "its end is watched");
    }
    await inTime(client.stopContainer(id, 1n));
    await inTime(client.removeContainer(id));
    await assertAllGoes(all);
    assert.deepEqual(node.logged, []);
  });

  test(`${name} is ended by a new boot, with a reason`, async (t) => {
    const all = newNode(t);
    const { node, client, restart } = all;
    const { podId, id } = await bring(client, brought);
    node.restart();
    meanwhile(node, id);
    await restart("boot-2");
    const status = await client.containerStatus(id);
    assert.deepEqual([status.state, status.reason, status.exitCode], [exited, "NodeRebooted", 255]);
    assert.equal((await client.podStatus(podId)).state, PodSandboxState.SANDBOX_NOTREADY);
    assert.equal(node.attachments.size, 0, "its address is given back");
    await restart("boot-2");
    assert.equal((await client.containerStatus(id)).finishedAt, status.finishedAt, "told once");
    await assertAllGoes(all);
    assert.deepEqual(node.logged, []);
  });
}

test("an ended container keeps its end over starts and boots", async (t) => {
  const all = newNode(t);
  const { node, client, restart } = all;
  const { id } = await bring(client, "running");
  node.exit(id, 5);
  await node.quiet();
  const before = await client.containerStatus(id);
  await restart();
  assert.deepEqual(await client.containerStatus(id), before);
  await restart("boot-2");
  assert.deepEqual(await client.containerStatus(id), before);
  await assertAllGoes(all);
});

interface PodCase {
  meanwhile: (node: FakeNode, id: string) => void;
  /** In the same boot. */
  state: PodSandboxState;
}

const podCases: Record<string, PodCase> = {
  "a pod that is whole": { meanwhile: () => {}, state: PodSandboxState.SANDBOX_READY },
  "a pod whose network namespace is gone": {
    meanwhile: (node, id) => void node.things.delete(`netns ${id}`),
    state: PodSandboxState.SANDBOX_NOTREADY,
  },
  "a pod whose init is gone": { meanwhile: (node, id) => node.killInit(id), state: PodSandboxState.SANDBOX_NOTREADY },
};

for (const [name, { meanwhile, state }] of Object.entries(podCases)) {
  for (const bootId of ["boot-1", "boot-2"]) {
    test(`${name} is ${bootId === "boot-1" && state === PodSandboxState.SANDBOX_READY ? "left alone" : "taken down, and its containers with it"} (${bootId})`, async (t) => {
      const all = newNode(t);
      const { node, client, restart } = all;
      const { podId, id } = await bring(client, "running");
      node.restart();
      meanwhile(node, podId);
      await restart(bootId);
      const expected = bootId === "boot-1" ? state : PodSandboxState.SANDBOX_NOTREADY;
      assert.equal((await client.podStatus(podId)).state, expected);
      assert.equal(
        (await client.containerStatus(id)).state,
        expected === PodSandboxState.SANDBOX_READY ? running : exited,
      );
      if (expected === PodSandboxState.SANDBOX_NOTREADY) {
        const left = node.left().filter((thing) => thing.includes(podId) && !thing.startsWith("record"));
        assert.deepEqual(left, []);
      }
      assert.deepEqual(node.violations, []);
      await restart(bootId);
      assert.equal((await client.podStatus(podId)).state, expected);
      await assertAllGoes(all);
    });
  }
}

test("a stopped pod stays stopped, and a half stopped one is taken down", async (t) => {
  const all = newNode(t);
  const { node, client, restart, inTime } = all;
  const stopped = await client.runPod();
  await inTime(client.stopPod(stopped));
  const half = await client.runPod({ metadata: { name: "half", namespace: "default", uid: "u2" } });
  node.fate = (effect) => (effect === "pod-host destroy" ? "fails" : "works");
  await assert.rejects(inTime(client.stopPod(half)));
  assert.equal((await client.podStatus(half)).state, PodSandboxState.SANDBOX_NOTREADY);
  node.fate = () => "works";
  await restart();
  assert.deepEqual(
    node.left().filter((thing) => !thing.startsWith("record")),
    [],
  );
  assert.equal(node.deps.pods.get(half)?.state.is, "notReady");
  await assertAllGoes(all);
});

test("when the init of a recovered pod dies, the pod is stopped", async (t) => {
  const all = newNode(t);
  const { node, client, restart } = all;
  const { podId } = await bring(client, "running");
  await restart();
  node.killInit(podId);
  await node.quiet();
  assert.equal((await client.podStatus(podId)).state, PodSandboxState.SANDBOX_NOTREADY);
  await assertAllGoes(all);
});

test("whichever effect of recovery fails, it ends, the other pieces are recovered, and all can be removed", async (t) => {
  mockTime(t.mock);
  const second = { metadata: { name: "second", namespace: "default", uid: "u2" } };
  const prepared = async () => {
    const node = new FakeNode();
    const client = clientOf(node);
    const a = await bring(client, "running");
    await client.createContainer(a.podId, { metadata: { name: "waits" } });
    const ended = await client.createContainer(a.podId, { metadata: { name: "ended" } });
    await client.startContainer(ended);
    const b = await client.runPod(second);
    node.fate = (effect) => (effect === "runtime create" || effect === "runtime delete" ? "fails" : "works");
    await client.createContainer(b).catch(() => {});
    node.fate = () => "works";
    node.restart();
    node.exit(ended, 6);
    node.things.delete(`netns ${b}`);
    node.effects.length = 0;
    return { node, client, ended, ...a };
  };
  const clean = await prepared();
  await passTime(t.mock.timers, recover(clean.node.deps));
  const effects = [...clean.node.effects];
  clean.node[Symbol.dispose]();
  assert.ok(effects.length > 10);
  for (const fate of ["fails", "done and fails"] as const) {
    for (const [i, effect] of effects.entries()) {
      const { node, client, id, podId, ended } = await prepared();
      using _ = node;
      node.fate = (_, index) => (index === i ? fate : "works");
      await passTime(t.mock.timers, recover(node.deps));
      node.fate = () => "works";
      // The noting of an end is tried again after a second.
      t.mock.timers.tick(1000);
      await node.quiet();
      assert.equal((await client.containerStatus(ended)).state, exited, `${effect}: an end that was not noted`);
      const { state } = await client.podStatus(podId);
      if (state === PodSandboxState.SANDBOX_READY) {
        assert.equal((await client.containerStatus(id)).state, running, effect);
        node.exit(id, 22);
        await node.quiet();
        assert.equal((await client.containerStatus(id)).exitCode, 22, `${effect}: an end that nobody watched`);
      }
      for (const pod of node.deps.pods.all()) await passTime(t.mock.timers, client.removePod(pod.id));
      await node.quiet();
      assert.deepEqual(node.left(), [], effect);
    }
  }
});

test("a container that could not be watched at the start can be stopped and removed all the same", async (t) => {
  const all = newNode(t);
  const { node, client, inTime, restart } = all;
  const { id } = await bring(client, "running");
  node.fate = (effect) => (effect === "runtime watch" ? "fails" : "works");
  await restart();
  node.fate = () => "works";
  await inTime(client.stopContainer(id, 1n));
  assert.equal((await client.containerStatus(id)).state, exited);
  await assertAllGoes(all);
});

test("directories without a record are removed, other files are left alone", async (t) => {
  const { node, restart } = newNode(t);
  const { paths } = node;
  const id = "ab".repeat(32);
  for (const dir of [
    podDir(paths, id),
    bundleDir(paths, id),
    containerDir(paths, id),
    podDir(paths, "keep"),
    bundleDir(paths, "keep"),
  ])
    mkdirSync(dir);
  await restart();
  assert.deepEqual(node.left(), ["directory /state/containers/keep", "directory /state/pods/keep"]);
});

test("exit codes without a record are forgotten, those of containers and sandboxes are kept", async (t) => {
  const { node, client, restart } = newNode(t);
  const podId = await client.runPod();
  const containerId = await client.createContainer(podId);
  const unknown = "ab".repeat(32);
  mkdirSync(exitsDir(node.paths), { recursive: true });
  for (const id of [unknown, podId, containerId]) {
    writeFileSync(join(exitsDir(node.paths), id), "0");
    node.exitReports.set(id, { exitCode: 0, finishedAtNs: 1n, oomKilled: false });
  }
  await restart();
  assert.deepEqual([...node.exitReports.keys()], [podId, containerId]);
});

test("a container whose handler is no longer configured is left as it is, with a line in the log", async (t) => {
  const { node, client, restart } = newNode(t);
  const podId = await client.runPod({}, "runc");
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  const other = await client.runPod({ metadata: { name: "other", namespace: "default", uid: "u2" } });
  const otherId = await client.createContainer(other);
  await client.startContainer(otherId);
  node.restart();
  node.exit(id, 1);
  node.exit(otherId, 2);
  node.missingHandlers.add("runc");
  await restart();
  assert.ok(
    node.logged.some((line) => line.includes("runtime handler runc")),
    node.logged.join("\n"),
  );
  assert.equal((await client.containerStatus(otherId)).exitCode, 2);
  node.missingHandlers.clear();
  await restart();
  assert.equal((await client.containerStatus(id)).exitCode, 1);
});
