import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import { containerDir, containersDir, podDir } from "../records/paths.ts";
import { podFiles } from "../records/pod-files.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { mockTime } from "../testing/pass-time.ts";
import { createHandlers } from "./handlers.ts";

const never = new AbortController().signal;
const pressure = {
  some: { avg10: 1, avg60: 2, avg300: 3, totalUs: 4n },
  full: { avg10: 0, avg60: 0, avg300: 0, totalUs: 1n },
};

function usage(over: Partial<CgroupUsage> = {}): CgroupUsage {
  return {
    cpu: { usageNs: 5_000_000_000n, pressure },
    memory: {
      usageBytes: 300n,
      workingSetBytes: 200n,
      rssBytes: 100n,
      cacheBytes: 50n,
      mappedFileBytes: 10n,
      limitBytes: 1000n,
      pageFaults: 7n,
      majorPageFaults: 2n,
      pressure,
    },
    swap: { usageBytes: 30n, limitBytes: 100n },
    io: { devices: [], pressure },
    pids: { current: 3n },
    hugepages: [],
    ...over,
  };
}

const psi = {
  Some: { Total: 4000n, Avg10: 1, Avg60: 2, Avg300: 3 },
  Full: { Total: 1000n, Avg10: 0, Avg60: 0, Avg300: 0 },
};
const value = (n: bigint) => ({ value: n });

/** A pod with a running container, both measured. */
async function newNode(t: TestContext) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const client = clientOf(node);
  const podId = await client.runPod({ labels: { app: "web" } });
  const id = await client.createContainer(podId, { labels: { tier: "front" } });
  await client.startContainer(id);
  const { containers, pods } = node.deps;
  const cgroup = containers.get(id)!.cgroupPath;
  node.usage.cgroupsByPath
    .set(cgroup, usage())
    .set(pods.get(podId)!.plan.cgroup.path, usage({ pids: { current: 4n } }));
  node.usage.disksByDir.set(containerDir(node.paths, id), { bytes: 8192, inodes: 5 });
  const counters = {
    rxBytes: 1n,
    rxPackets: 2n,
    rxErrors: 3n,
    rxDropped: 4n,
    txBytes: 5n,
    txPackets: 6n,
    txErrors: 7n,
    txDropped: 8n,
  };
  node.usage.interfacesByPin.set(podFiles(podDir(node.paths, podId)).netns, [
    { name: "net1", ...counters },
    { name: "eth0", ...counters },
  ]);
  return { node, client, podId, id, cgroup, calls: createHandlers(node.deps) };
}

test("a container's stats have CPU, memory, swap, pressure and its writable layer together", async (t) => {
  const { node, id, calls } = await newNode(t);
  const { stats } = await calls.containerStats({ containerId: id }, never);
  const at = node.usage.nowNs();
  assert.equal(stats?.attributes?.id, id);
  assert.deepEqual(stats?.attributes?.labels, { tier: "front" });
  assert.deepEqual(stats?.cpu, {
    timestamp: at,
    usageCoreNanoSeconds: value(5_000_000_000n),
    usageNanoCores: undefined,
    psi,
  });
  assert.deepEqual(stats?.memory, {
    timestamp: at,
    workingSetBytes: value(200n),
    availableBytes: value(800n),
    usageBytes: value(300n),
    rssBytes: value(100n),
    pageFaults: value(7n),
    majorPageFaults: value(2n),
    psi,
  });
  assert.deepEqual(stats?.swap, { timestamp: at, swapAvailableBytes: value(70n), swapUsageBytes: value(30n) });
  assert.deepEqual(stats?.io, { timestamp: at, psi });
  assert.deepEqual(stats?.writableLayer, {
    timestamp: at,
    fsId: { mountpoint: containersDir(node.paths) },
    usedBytes: value(8192n),
    inodesUsed: value(5n),
  });
});

test("CPU use is a rate over the last seconds, and absent before it can be known", async (t) => {
  const { node, id, cgroup, calls } = await newNode(t);
  const nanoCores = async () =>
    (await calls.containerStats({ containerId: id }, never)).stats?.cpu?.usageNanoCores?.value;
  assert.equal(await nanoCores(), undefined);
  node.usage.atMs += 2000;
  node.usage.cgroupsByPath.set(cgroup, usage({ cpu: { usageNs: 6_000_000_000n } }));
  assert.equal(await nanoCores(), 500_000_000n);
});

test("a start takes a sample at once, so that the first answer has a rate", async (t) => {
  const { node, id, cgroup, calls } = await newNode(t);
  t.mock.timers.tick(50);
  await node.quiet();
  assert.deepEqual(node.usage.reads, [{ count: 2, detail: "cpu" }]);
  node.usage.atMs += 4000;
  node.usage.cgroupsByPath.set(cgroup, usage({ cpu: { usageNs: 6_000_000_000n } }));
  const { stats } = await calls.containerStats({ containerId: id }, never);
  assert.equal(stats?.cpu?.usageNanoCores?.value, 250_000_000n);
});

test("without a limit there is no telling what is available", async (t) => {
  const { node, id, cgroup, calls } = await newNode(t);
  const { limitBytes: _, ...memory } = usage().memory!;
  node.usage.cgroupsByPath.set(cgroup, usage({ memory, swap: { usageBytes: 0n } }));
  const { stats } = await calls.containerStats({ containerId: id }, never);
  assert.equal(stats?.memory?.availableBytes, undefined);
  assert.equal(stats?.swap?.swapAvailableBytes, undefined);
});

test("one that does not run has its writable layer only; one whose cgroup is gone just now too", async (t) => {
  const { node, client, id, cgroup, calls } = await newNode(t);
  node.usage.cgroupsByPath.delete(cgroup);
  const gone = (await calls.containerStats({ containerId: id }, never)).stats;
  await client.stopContainer(id, 0n);
  const exited = (await calls.containerStats({ containerId: id }, never)).stats;
  for (const stats of [gone, exited]) {
    assert.deepEqual([stats?.cpu, stats?.memory, stats?.swap, stats?.io], [undefined, undefined, undefined, undefined]);
    assert.equal(stats?.writableLayer?.usedBytes?.value, 8192n);
  }
});

test("an id that is nobody's is NotFound, for containers and pods", async (t) => {
  const { calls } = await newNode(t);
  const isNotFound = (e: unknown) => e instanceof StatusError && e.code === Code.NotFound;
  await assert.rejects(calls.containerStats({ containerId: "f".repeat(64) }, never), isNotFound);
  await assert.rejects(calls.podSandboxStats({ podSandboxId: "f".repeat(64) }, never), isNotFound);
});

test("a pod's stats have its cgroup, its interfaces, its threads and its containers", async (t) => {
  const { podId, id, calls } = await newNode(t);
  const { stats } = await calls.podSandboxStats({ podSandboxId: podId }, never);
  assert.deepEqual(stats?.attributes?.labels, { app: "web" });
  const linux = stats?.linux;
  assert.equal(linux?.process?.processCount?.value, 4n);
  assert.equal(linux?.memory?.workingSetBytes?.value, 200n);
  const counters = { rxBytes: value(1n), rxErrors: value(3n), txBytes: value(5n), txErrors: value(7n) };
  assert.deepEqual(linux?.network?.defaultInterface, { name: "eth0", ...counters });
  assert.deepEqual(linux?.network?.interfaces, [{ name: "net1", ...counters }]);
  assert.deepEqual(
    linux?.containers.map((c) => c.attributes?.id),
    [id],
  );
});

test("a stopped pod is listed without numbers", async (t) => {
  const { client, podId, calls } = await newNode(t);
  await client.stopPod(podId);
  const { stats } = await calls.listPodSandboxStats({ filter: undefined }, never);
  assert.deepEqual(
    stats.map((s) => [s.attributes?.id, s.linux?.cpu, s.linux?.network, s.linux?.containers.length]),
    [[podId, undefined, undefined, 0]],
  );
});

test("lists are filtered by id, pod and labels, and measured in one go", async (t) => {
  const { node, client, podId, id, calls } = await newNode(t);
  const otherPod = await client.runPod({ metadata: { name: "other", namespace: "default", uid: "other" } });
  const other = await client.createContainer(otherPod);
  await client.startContainer(other);
  const none = { id: "", podSandboxId: "", labelSelector: {} };
  const ids = async (filter: Partial<typeof none> | undefined) =>
    (await calls.listContainerStats({ filter: filter === undefined ? undefined : { ...none, ...filter } }, never)).stats
      .map((s) => s.attributes!.id)
      .sort();
  node.usage.reads.length = 0;
  assert.deepEqual(await ids(undefined), [id, other].sort());
  assert.deepEqual(node.usage.reads, [{ count: 2, detail: "stats" }]);
  assert.deepEqual(await ids({ id }), [id]);
  assert.deepEqual(await ids({ podSandboxId: otherPod }), [other]);
  assert.deepEqual(await ids({ labelSelector: { tier: "front" } }), [id]);
  assert.deepEqual(await ids({ labelSelector: { tier: "back" } }), []);
  const podIds = async (filter: { id: string; labelSelector: Record<string, string> }) =>
    (await calls.listPodSandboxStats({ filter }, never)).stats.map((s) => s.attributes!.id);
  assert.deepEqual(await podIds({ id: "", labelSelector: { app: "web" } }), [podId]);
  assert.deepEqual(await podIds({ id: otherPod, labelSelector: {} }), [otherPod]);
});

test("stats of one that hangs do not wait for any call on it", async (t) => {
  const { node, client, id, calls } = await newNode(t);
  node.fate = (effect) => (effect === "container-host kill" ? "hangs" : "works");
  const stop = client.stopContainer(id, 0n);
  await node.quiet();
  assert.equal((await calls.listContainerStats({ filter: undefined }, never)).stats.length, 1);
  node.fate = () => "works";
  node.release();
  await stop;
});
