import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { ContainerState, NamespaceMode, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { containerStatus } from "../calls/container-status.ts";
import { execSync } from "../calls/exec-sync.ts";
import { podSandboxStatus } from "../calls/pod-sandbox-status.ts";
import { status } from "../calls/status.ts";
import { whyLayersAreHeld } from "../records/container-record.ts";
import { bundleDir, podDir } from "../records/paths.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime, passTime } from "../testing/pass-time.ts";
import { recover } from "./recovery.ts";

/*
 * Records that this build cannot read, as another one wrote them or they were damaged: what they stand for runs on, is
 * shown, can be removed by a person, and is back when a build that can read them starts.
 */

const { CONTAINER_RUNNING: running, CONTAINER_EXITED: exited, CONTAINER_UNKNOWN: unknown } = ContainerState;
const { SANDBOX_READY: ready, SANDBOX_NOTREADY: notReady } = PodSandboxState;
const signal = new AbortController().signal;

type Table = "pods" | "containers";

class Scene {
  readonly node = new FakeNode();
  readonly client = clientOf(this.node);
  readonly #t: TestContext;

  constructor(t: TestContext) {
    // A test may have one scene after the other.
    t.mock.timers.reset();
    mockTime(t.mock);
    t.after(() => this.node[Symbol.dispose]());
    this.#t = t;
  }

  inTime<T>(call: Promise<T>): Promise<T> {
    return passTime(this.#t.mock.timers, call);
  }

  /** Kills the daemon and starts it again, after `meanwhile`. */
  async restart(meanwhile: () => void = () => {}, bootId?: string): Promise<void> {
    this.node.restart();
    meanwhile();
    this.node.logged.length = 0;
    await this.inTime(recover(this.node.restart(bootId === undefined ? {} : { bootId })));
    await this.node.quiet();
  }

  /** A pod with a running container, and another such pod. */
  async prepare() {
    const podId = await this.client.runPod({ linux: { cgroup_parent: "/kubepods/podu1" } });
    const id = await this.client.createContainer(podId);
    await this.client.startContainer(id);
    const other = await this.client.runPod({ metadata: { name: "other", namespace: "default", uid: "u2" } });
    const otherId = await this.client.createContainer(other);
    await this.client.startContainer(otherId);
    return { podId, id, other, otherId };
  }

  row(table: Table, id: string): string | undefined {
    const row = this.node.db.prepare(`SELECT record FROM ${table} WHERE id = ?`).get(id);
    return row === undefined ? undefined : String(row["record"]);
  }

  /** Changes a row; returns what it was. */
  change(table: Table, id: string, change: (row: string) => string): string {
    const before = this.row(table, id)!;
    this.node.db.prepare(`UPDATE ${table} SET record = ? WHERE id = ?`).run(change(before), id);
    return before;
  }

  /** The ids of runtimes' processes that run. */
  runningIds(): string[] {
    return this.node.running("main").sort();
  }

  async removeAllPods(): Promise<void> {
    for (const { id } of this.node.deps.pods.all()) await this.inTime(this.client.removePod(id));
    await this.node.quiet();
    assert.deepEqual([this.node.left(), this.node.violations], [[], []]);
  }
}

const byId = ([a]: unknown[], [b]: unknown[]) => String(a).localeCompare(String(b));

const member = (name: string, value: unknown) => (row: string) =>
  JSON.stringify({ ...(JSON.parse(row) as object), [name]: value });

/** A state that this build does not know, with all that the one before it has: as after a rollback. */
const laterState = (row: string) => {
  const { state } = JSON.parse(row) as { state: object };
  return member("state", { ...state, is: "checkpointed" })(row);
};

/** How much of a record is lost, from almost nothing to all of it. */
const damages: Record<string, (row: string) => string> = {
  "a state of a later build": laterState,
  "fields of other types": (row) => {
    const { plan } = JSON.parse(row) as { plan?: object };
    return plan === undefined
      ? member("stopSignal", 15)(member("layers", "many")(row))
      : member("handler", 7)(member("plan", { ...plan, network: 1, cgroup: "/" })(row));
  },
  "cut off in its middle": (row) => row.slice(0, row.length / 2),
  "cut off at its beginning": (row) => row.slice(0, 3),
  "no record at all": () => "null",
};

for (const [how, damage] of Object.entries(damages)) {
  test(`a container whose record is ${how} runs on, is shown as unknown, and is back when it can be read`, async (t) => {
    const scene = new Scene(t);
    const { node, client } = scene;
    const { podId, id, other, otherId } = await scene.prepare();
    const before = scene.change("containers", id, damage);
    const damaged = scene.row("containers", id)!;
    const left = node.left();
    for (let starts = 0; starts < 2; starts += 1) {
      await scene.restart();
      assert.deepEqual(scene.runningIds(), [id, otherId]);
      assert.deepEqual(node.left(), left, "nothing of it is taken down");
      assert.equal(scene.row("containers", id), damaged, "byte for byte");
      const listed = await client.listContainers();
      assert.deepEqual(listed.map((c) => [c.id, c.state, c.metadata !== undefined, c.image !== undefined]).sort(byId), [
        [id, unknown, true, true],
        [otherId, running, true, true],
      ]);
      const { state, reason, message } = await client.containerStatus(id);
      assert.deepEqual([state, reason], [unknown, "UnreadableRecord"]);
      assert.match(message, /cannot read its record \(.+\).*docs\/upgrading\.md/);
      assert.equal((await client.podStatus(podId)).state, ready);
      assert.equal((await client.podStatus(other)).state, ready);
      assert.match(node.logged.join("\n"), /the record of a container cannot be read: it .* left as they are/);
      const conditions = (await status(node.deps, { verbose: false })).status!.conditions;
      const condition = conditions.find(({ type }) => type === "KeelsonRecordsReadable")!;
      assert.deepEqual([condition.status, condition.message.includes(id)], [false, true]);
    }
    await assert.rejects(
      execSync(node.deps, { containerId: id, cmd: ["true"], timeout: 0n }, signal),
      (error: unknown) => error instanceof StatusError && error.code === Code.FailedPrecondition,
    );
    scene.change("containers", id, () => before);
    await scene.restart();
    assert.equal((await client.containerStatus(id)).state, running);
    assert.deepEqual(node.logged, []);
    node.exit(id, 7);
    await node.quiet();
    assert.deepEqual(
      [(await client.containerStatus(id)).state, (await client.containerStatus(id)).exitCode],
      [exited, 7],
    );
    await scene.removeAllPods();
  });

  test(`a container whose record is ${how} is removed by a person, and nothing of it is left`, async (t) => {
    const scene = new Scene(t);
    const { node, client } = scene;
    const { podId, id, otherId } = await scene.prepare();
    scene.change("containers", id, damage);
    await scene.restart();
    await scene.inTime(client.stopContainer(id, 0n));
    assert.deepEqual(scene.runningIds(), [otherId]);
    assert.equal((await client.containerStatus(id)).state, unknown);
    await scene.inTime(client.stopContainer(id, 5n));
    await scene.inTime(client.removeContainer(id));
    assert.deepEqual(
      node.left().filter((thing) => thing.includes(id)),
      // Where even the cgroup is not known, an empty one is left to the pod's removal.
      node.cgroups.has(`/kubepods/podu1/${id}`) ? [`cgroup /kubepods/podu1/${id}`] : [],
    );
    await scene.inTime(client.removeContainer(id));
    const again = await client.createContainer(podId);
    await client.startContainer(again);
    node.cgroups.delete(`/kubepods/podu1/${id}`);
    await scene.removeAllPods();
  });

  test(`a pod whose record is ${how} keeps all that it has, is shown as not ready, and is back when it can be read`, async (t) => {
    const scene = new Scene(t);
    const { node, client } = scene;
    const { podId, id, other, otherId } = await scene.prepare();
    const before = scene.change("pods", podId, damage);
    const damaged = scene.row("pods", podId)!;
    const left = node.left();
    await scene.restart();
    assert.deepEqual([scene.runningIds(), node.left()], [[id, otherId], left]);
    assert.equal(scene.row("pods", podId), damaged, "byte for byte");
    const { state, metadata } = await client.podStatus(podId);
    assert.deepEqual([state, metadata !== undefined], [notReady, true]);
    const { info } = await podSandboxStatus(node.deps, { podSandboxId: podId, verbose: true });
    assert.match((JSON.parse(info["info"]!) as { unreadable: string }).unreadable, /cannot read its record/);
    assert.deepEqual(
      (await client.listPods()).map((pod) => [pod.id, pod.state]).sort(byId),
      [
        [podId, notReady],
        [other, ready],
      ].sort(byId),
    );
    assert.equal((await client.containerStatus(id)).state, running, "its containers are what they are");
    node.exit(id, 3);
    await node.quiet();
    assert.equal((await client.containerStatus(id)).exitCode, 3);
    await assert.rejects(client.createContainer(podId, { metadata: { name: "more" } }), /cannot read its record/);
    scene.change("pods", podId, () => before);
    await scene.restart();
    assert.equal((await client.podStatus(podId)).state, ready);
    const more = await client.createContainer(podId, { metadata: { name: "more" } });
    await client.startContainer(more);
    await scene.removeAllPods();
  });

  test(`a pod whose record is ${how} can be stopped and removed by a person, and nothing of it is left`, async (t) => {
    const scene = new Scene(t);
    const { node, client } = scene;
    const { podId, id, otherId } = await scene.prepare();
    scene.change("pods", podId, damage);
    const damaged = scene.row("pods", podId)!;
    await scene.restart();
    await scene.inTime(client.stopPod(podId));
    assert.deepEqual([scene.runningIds(), scene.row("pods", podId)], [[otherId], damaged]);
    assert.ok(!node.attachments.has(podId), "its address is given back");
    assert.equal((await client.containerStatus(id)).state, exited);
    await scene.inTime(client.stopPod(podId));
    await scene.inTime(client.removePod(podId));
    const mine = node.left().filter((thing) => thing.includes(podId) || thing.includes(id));
    assert.deepEqual(mine, []);
    await scene.removeAllPods();
  });
}

test("the name of what cannot be read stays taken, as long as its record says it", async (t) => {
  const scene = new Scene(t);
  const { podId, id } = await scene.prepare();
  scene.change("containers", id, laterState);
  scene.change("pods", podId, laterState);
  await scene.restart();
  const isTaken = (error: unknown) => error instanceof StatusError && error.code === Code.AlreadyExists;
  await assert.rejects(scene.client.runPod({ linux: { cgroup_parent: "/kubepods/podu1" } }), isTaken);
  const other = await scene.client.runPod({ metadata: { name: "third", namespace: "default", uid: "u3" } });
  assert.ok(await scene.client.createContainer(other), "another pod's names are its own");
});

test("the end of a container whose record cannot be read is seen, remembered, and the real one when it can be read", async (t) => {
  const scene = new Scene(t);
  const { node, client } = scene;
  const { podId, id } = await scene.prepare();
  const before = scene.change("containers", id, laterState);
  await scene.restart();
  node.exit(id, 42);
  await node.quiet();
  const { state, exitCode, finishedAt } = await client.containerStatus(id);
  assert.deepEqual([state, exitCode, finishedAt > 0n], [unknown, 42, true]);
  assert.ok(node.exitReports.has(id), "its exit code is kept");
  await scene.restart(() => void scene.change("containers", id, () => before));
  const real = await client.containerStatus(id);
  assert.deepEqual([real.state, real.exitCode, real.finishedAt], [exited, 42, finishedAt]);
  assert.equal((await client.podStatus(podId)).state, ready);
  await scene.removeAllPods();
});

test("a container whose record cannot be read is not killed for the loss of its monitor", async (t) => {
  const scene = new Scene(t);
  const { id, otherId } = await scene.prepare();
  scene.change("containers", id, laterState);
  await scene.restart();
  scene.node.killMonitor(id);
  await scene.node.quiet();
  assert.deepEqual(scene.runningIds(), [id, otherId]);
});

test("a stop of a container whose record cannot be read gives it its time, by its own signal", async (t) => {
  const scene = new Scene(t);
  const { node, client } = scene;
  const { id } = await scene.prepare();
  scene.change("containers", id, laterState);
  await scene.restart();
  const signals: number[] = [];
  node.endsBy = (_, number) => {
    signals.push(number);
    return true;
  };
  await scene.inTime(client.stopContainer(id, 10n));
  const { exitCode } = (await containerStatus(node.deps, { containerId: id, verbose: false })).status!;
  assert.deepEqual([signals, exitCode], [[15], 143]);
});

test("stopping a pod ends the containers in it whose records can be read, and those whose cannot", async (t) => {
  const scene = new Scene(t);
  const { node, client } = scene;
  const { podId, id, otherId } = await scene.prepare();
  const second = await client.createContainer(podId, { metadata: { name: "second" } });
  await client.startContainer(second);
  scene.change("containers", id, laterState);
  await scene.restart();
  await scene.inTime(client.stopPod(podId));
  assert.deepEqual(scene.runningIds(), [otherId]);
  assert.equal((await client.podStatus(podId)).state, notReady);
  assert.equal((await client.containerStatus(second)).state, exited);
  assert.deepEqual(node.violations, []);
  assert.ok(scene.row("containers", id) !== undefined, "stopped is not removed");
  await scene.removeAllPods();
});

for (const [what, breakPod] of [
  ["whose network namespace is gone", (scene: Scene, podId: string) => void scene.node.things.delete(`netns ${podId}`)],
  [
    "that was being stopped",
    (scene: Scene, podId: string) => void scene.change("pods", podId, member("state", { is: "stopping" })),
  ],
] as const) {
  test(`a pod ${what} is not taken down under a container whose record cannot be read, but by a person`, async (t) => {
    const scene = new Scene(t);
    const { node, client } = scene;
    const { podId, id, otherId } = await scene.prepare();
    scene.change("containers", id, laterState);
    breakPod(scene, podId);
    await scene.restart();
    assert.deepEqual(scene.runningIds(), [id, otherId]);
    assert.equal((await client.podStatus(podId)).state, notReady);
    assert.ok(node.attachments.has(podId), "its network is its own still");
    assert.match(node.logged.join("\n"), /a pod that should be taken down is left as it is/);
    await scene.inTime(client.stopPod(podId));
    assert.deepEqual(scene.runningIds(), [otherId]);
    await scene.removeAllPods();
  });
}

test("after a boot nothing of an unreadable record runs; its pod is taken down, and what is left of it can be removed", async (t) => {
  const scene = new Scene(t);
  const { node, client } = scene;
  const { podId, id, other } = await scene.prepare();
  scene.change("containers", id, laterState);
  scene.change("pods", other, laterState);
  await scene.restart(() => {}, "boot-2");
  assert.equal((await client.podStatus(podId)).state, notReady);
  assert.equal((await client.containerStatus(id)).state, unknown);
  assert.deepEqual([...node.attachments.keys()], [other], "what cannot be read keeps its address");
  await scene.removeAllPods();
});

test("what a container needs whose pod's record is lost, or which does not say its pod, is not removed", async (t) => {
  for (const damage of [laterState, (row: string) => row.slice(0, 3)]) {
    const scene = new Scene(t);
    const { node, client } = scene;
    const { podId, id } = await scene.prepare();
    scene.change("containers", id, damage);
    node.db.prepare("DELETE FROM pods WHERE id = ?").run(podId);
    const left = node.left();
    await scene.restart();
    assert.deepEqual(node.left(), left);
    await scene.inTime(client.removeContainer(id));
    await scene.restart();
    assert.ok(!node.things.has(`netns ${podId}`), "now nothing needs it");
    assert.ok(!node.attachments.has(podId));
  }
});

test("a container's bundle says which pod and cgroup it has when its record does not", async (t) => {
  const scene = new Scene(t);
  const { node, client } = scene;
  const { podId, id, otherId } = await scene.prepare();
  const spec = {
    mounts: [{ destination: "/etc/hosts", source: `${podDir(node.paths, podId)}/hosts` }],
    linux: { cgroupsPath: `/kubepods/podu1/${id}` },
  };
  mkdirSync(bundleDir(node.paths, id), { recursive: true });
  writeFileSync(`${bundleDir(node.paths, id)}/config.json`, JSON.stringify(spec));
  scene.change("containers", id, () => "{");
  await scene.restart();
  assert.equal((await client.listContainers({ podSandboxId: podId }))[0]?.id, id);
  await scene.inTime(client.stopPod(podId));
  assert.deepEqual(scene.runningIds(), [otherId]);
  await scene.removeAllPods();
});

test("rows whose ids cannot be read either hold up every removal of what has no record", async (t) => {
  for (const table of ["containers", "pods"] as const) {
    const scene = new Scene(t);
    const { node } = scene;
    const { podId, id } = await scene.prepare();
    const rowId = table === "pods" ? podId : id;
    node.db.prepare(`UPDATE ${table} SET id = '?', record = '{' WHERE id = ?`).run(rowId);
    const left = node.left();
    await scene.restart();
    assert.deepEqual(node.left(), left);
    const [condition] = (await status(node.deps, { verbose: false })).status!.conditions.slice(-1);
    assert.match(condition!.message, /^1 record of a pod or container cannot be read/);
    node.db.exec(`DELETE FROM ${table} WHERE id = '?'`);
    await scene.restart();
    assert.ok(
      node.left().every((thing) => !thing.includes(rowId) || /cgroup/.test(thing)),
      "a person has decided",
    );
  }
});

test("a row with another id than its record is of the one that is there", async (t) => {
  const scene = new Scene(t);
  const { client, node } = scene;
  const { id } = await scene.prepare();
  const wrong = id.replace(/^0/, "f");
  node.db.prepare("UPDATE containers SET id = ? WHERE id = ?").run(wrong, id);
  await scene.restart();
  assert.equal((await client.containerStatus(id)).state, unknown);
  await scene.inTime(client.removeContainer(id));
  assert.equal(scene.row("containers", wrong), undefined);
  scene.change("pods", node.deps.pods.all()[0]!.id, member("id", "e".repeat(64)));
  await scene.restart();
  await scene.removeAllPods();
});

test("no layer is removed while the record of a container does not say what it stands on", async (t) => {
  const scene = new Scene(t);
  const { node } = scene;
  const { id, podId } = await scene.prepare();
  const why = () => whyLayersAreHeld(node.deps.containers.all(), node.deps.strayRows.containers);
  await scene.restart(() => void scene.change("containers", id, laterState));
  assert.equal(why(), undefined, "it says so");
  assert.deepEqual(node.deps.containers.get(id)!.layers, ["layer"]);
  await scene.restart(() => void scene.change("containers", id, (row) => row.slice(0, 100)));
  assert.match(why()!, new RegExp(`container ${id}`));
  await scene.inTime(scene.client.removeContainer(id));
  assert.equal(why(), undefined);
  await scene.inTime(scene.client.removePod(podId));
});

test("a pod with an init of its own, and one that is a container, are removed though their records cannot be read", async (t) => {
  for (const [config, handler] of [
    [{ linux: { security_context: { namespace_options: { pid: NamespaceMode.POD } } } }, ""],
    [{}, "kata"],
  ] as const) {
    for (const damage of Object.values(damages)) {
      const scene = new Scene(t);
      const podId = await scene.client.runPod(config, handler);
      scene.change("pods", podId, damage);
      await scene.restart();
      assert.ok(scene.node.processes.size > 0);
      await scene.inTime(scene.client.removePod(podId));
      const left = scene.node.left().filter((thing) => !/^cgroup/.test(thing));
      assert.deepEqual(left, []);
    }
  }
});

test("whichever effect fails when what cannot be read is removed, the next try removes it", async (t) => {
  const removed = async (fate: "fails" | "done and fails" | undefined, at: number) => {
    const scene = new Scene(t);
    const { node, client } = scene;
    const { podId, id } = await scene.prepare();
    scene.change("containers", id, laterState);
    scene.change("pods", podId, laterState);
    await scene.restart();
    node.effects.length = 0;
    if (fate !== undefined) node.fate = (_, index) => (index === at ? fate : "works");
    await scene.inTime(client.removePod(podId)).catch(() => {});
    const effects = [...node.effects];
    node.fate = () => "works";
    await scene.inTime(client.removePod(podId));
    await scene.removeAllPods();
    return effects;
  };
  const effects = await removed(undefined, 0);
  assert.ok(effects.length > 5);
  for (const fate of ["fails", "done and fails"] as const) for (const at of effects.keys()) await removed(fate, at);
});
