import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import {
  ContainerState,
  ContainerStats,
  ContainerStatus,
  PodSandbox,
  PodSandboxMetrics,
  PodSandboxStats,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { Interrupt } from "../io.ts";
import { cpuPercent } from "../stats/cpu-percent.ts";
import { ago, type FakeRuntime, startFakeRuntime } from "../testing/fake-runtime.ts";

process.env.TZ = "UTC";

/** Two running containers and one that has ended; each list is a second later, in which `a` uses half a CPU. */
async function withUsage(t: TestContext): Promise<FakeRuntime> {
  let lists = 0;
  const sample = (id: string, name: string, coresTimes1e9: bigint) =>
    ContainerStats.fromPartial({
      attributes: { id, metadata: { name, attempt: 2 } },
      cpu: {
        timestamp: ago(100 - lists),
        usageCoreNanoSeconds: { value: coresTimes1e9 * BigInt(lists) },
        psi: { Some: { Avg10: 7 } },
      },
      memory: { workingSetBytes: { value: 25_000_000n }, availableBytes: { value: 75_000_000n } },
      writableLayer: { usedBytes: { value: 2_000_000n }, inodesUsed: { value: 12n } },
      swap: { swapUsageBytes: { value: 3000n } },
    });
  const fake = await startFakeRuntime(t, {
    listContainerStats: async ({ filter }) => {
      lists += 1;
      const all = [sample("bbb", "idle", 0n), sample("aaa", "busy", 500_000_000n), sample("ccc", "ended", 0n)];
      return { stats: all.filter((one) => one.attributes!.id.startsWith(filter?.id ?? "")) };
    },
    listPodSandboxStats: async () => ({
      stats: [
        PodSandboxStats.fromPartial({
          attributes: { id: "pod1", metadata: { name: "web", namespace: "default" } },
          linux: {
            cpu: { timestamp: ago(100 - lists), usageCoreNanoSeconds: { value: 250_000_000n * BigInt(lists) } },
            memory: { workingSetBytes: { value: 50_000_000n } },
            network: {
              defaultInterface: { name: "eth0", rxBytes: { value: 4000n * BigInt(lists) }, txBytes: { value: 100n } },
            },
          },
        }),
      ],
    }),
    listPodSandboxMetrics: async () => ({
      podMetrics: [
        PodSandboxMetrics.fromPartial({
          podSandboxId: "pod1",
          containerMetrics: [
            { containerId: "bbb", metrics: [{ name: "container_fs_reads_bytes_total", value: { value: 5n } }] },
          ],
        }),
      ],
    }),
    listMetricDescriptors: async () => ({
      descriptors: [{ name: "container_cpu_usage_seconds_total", help: "CPU", labelKeys: ["id"] }],
    }),
    imageFsInfo: async () => ({
      imageFilesystems: [
        {
          timestamp: ago(0),
          fsId: { mountpoint: "/var/lib/keelson" },
          usedBytes: { value: 1_500_000n },
          inodesUsed: { value: 7n },
        },
      ],
      containerFilesystems: [],
    }),
  });
  const of = (id: string, name: string, state: ContainerState) =>
    ContainerStatus.fromPartial({ id, metadata: { name, attempt: 2 }, state });
  fake.containers = [
    of("aaa", "busy", ContainerState.CONTAINER_RUNNING),
    of("bbb", "idle", ContainerState.CONTAINER_RUNNING),
    of("ccc", "ended", ContainerState.CONTAINER_EXITED),
  ];
  fake.pods = [PodSandbox.fromPartial({ id: "pod1", metadata: { name: "web", namespace: "default" } })];
  return fake;
}

const words = (out: string) =>
  out
    .trim()
    .split("\n")
    .map((line) => line.split(/ {2,}/));

test("stats: running containers, CPU between two samples; -a ended ones too", async (t) => {
  const fake = await withUsage(t);
  const { code, out } = await fake.keelctl("stats");
  assert.equal(code, 0);
  assert.deepEqual(words(out), [
    ["CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP"],
    ["aaa", "busy", "50.00", "25MB", "2MB", "12", "3kB"],
    ["bbb", "idle", "0.00", "25MB", "2MB", "12", "3kB"],
  ]);
  assert.deepEqual(
    words((await fake.keelctl("stats", "-a")).out).map((row) => row[0]),
    ["CONTAINER", "aaa", "bbb", "ccc"],
  );
  assert.deepEqual(
    words((await fake.keelctl("stats", "bb")).out).map((row) => row[0]),
    ["CONTAINER", "bbb"],
  );
  const json = JSON.parse((await fake.keelctl("stats", "--id", "aa", "-o", "json")).out) as {
    stats: { memory: { workingSetBytes: { value: string } } }[];
  };
  assert.equal(json.stats[0]!.memory.workingSetBytes.value, "25000000");
  assert.match((await fake.keelctl("stats", "-s", "0")).err, /--seconds 0: must be/);
});

test("stats -w: repeats until interrupted, which is no error", async (t) => {
  const fake = await withUsage(t);
  const interrupt = new AbortController();
  let views = 0;
  const sleep = async () => {
    views += 1;
    if (views === 3) interrupt.abort(new Interrupt(130));
    interrupt.signal.throwIfAborted();
  };
  const { code, out } = await fake.keelctlWith({ sleep, signal: interrupt.signal }, "stats", "-w", "aaa");
  assert.equal(code, 0);
  assert.equal(words(out).filter((row) => row[0] === "CONTAINER").length, 3);
  assert.match(out, /50\.00/);
});

test("statsp: pods", async (t) => {
  const fake = await withUsage(t);
  assert.deepEqual(words((await fake.keelctl("statsp", "-o", "table")).out), [
    ["POD", "POD ID", "CPU %", "MEM"],
    ["web", "pod1", "0.00", "50MB"],
  ]);
  assert.match((await fake.keelctl("statsp", "-o", "yaml")).out, /rxBytes:\n +value: "0"/);
});

test("cpuPercent: between samples, the runtime's own figure, or unknown", () => {
  const at = (timestamp: bigint, used: bigint, nanoCores?: bigint) => ({
    timestamp,
    usageCoreNanoSeconds: { value: used },
    usageNanoCores: nanoCores === undefined ? undefined : { value: nanoCores },
    psi: undefined,
  });
  assert.equal(cpuPercent(at(0n, 0n), at(1_000_000_000n, 2_500_000_000n)), 250);
  assert.equal(cpuPercent(undefined, at(5n, 5n, 250_000_000n)), 25);
  assert.equal(cpuPercent(at(5n, 9n), at(6n, 5n)), undefined, "begun anew");
  assert.equal(cpuPercent(at(5n, 9n), at(5n, 9n, 10_000_000n)), 1, "the same sample again");
  assert.equal(cpuPercent(undefined, undefined), undefined);
});

test("metricdescs, metricsp, imagefsinfo", async (t) => {
  const fake = await withUsage(t);
  assert.deepEqual(JSON.parse((await fake.keelctl("metricdescs")).out), {
    descriptors: [{ name: "container_cpu_usage_seconds_total", help: "CPU", labelKeys: ["id"] }],
  });
  assert.match(
    (await fake.keelctl("metricsp", "-o", "yaml")).out,
    /^podMetrics:\n- containerMetrics:\n {2}- containerId: bbb/,
  );
  assert.match((await fake.keelctl("metricsp", "-o", "table")).err, /one of json, yaml/);
  assert.equal(
    (await fake.keelctl("imagefsinfo", "-o", "table")).out,
    "Image Filesystem\nTimeStamp: 2026-11-21 03:12:00 +0000 UTC\nDisk: 1.5MB\nInodes: 7\nMountpoint: /var/lib/keelson\n",
  );
  assert.equal(
    (JSON.parse((await fake.keelctl("imagefsinfo")).out) as { imageFilesystems: { fsId: object }[] }).imageFilesystems
      .length,
    1,
  );
});

test("top -n 1: rates after two samples, sorted, without what the runtime does not report", async (t) => {
  const fake = await withUsage(t);
  const { code, out, err } = await fake.keelctl("top", "-n", "1");
  assert.deepEqual({ code, err }, { code: 0, err: "" });
  const [titles, ...rows] = words(out);
  assert.deepEqual(titles, [
    "NAMESPACE",
    "POD",
    "CONTAINER",
    "CPU%*",
    "MEM",
    "LIMIT",
    "MEM%",
    "RX/s",
    "TX/s",
    "IO/s",
    "PSI c/m/i",
    "RESTARTS",
  ]);
  assert.deepEqual(
    rows.map((row) => row.slice(0, 7)),
    [
      ["default", "web", "busy", "50.0", "25MB", "100MB", "25.0"],
      ["default", "web", "idle", "0.0", "25MB", "100MB", "25.0"],
    ],
  );
  assert.deepEqual(
    rows.map((row) => row.slice(9)),
    [
      ["-", "7/-/-", "2"],
      ["0B", "7/-/-", "2"],
    ],
  );
  assert.match(rows[0]![7]!, /^\d+(\.\d+)?[kMG]?B$/);
  assert.deepEqual(
    words((await fake.keelctl("top", "-n", "1", "--sort", "io")).out).map((row) => row[2]),
    ["CONTAINER", "idle", "busy"],
  );
  assert.match((await fake.keelctl("top", "--sort", "size")).err, /--sort size: must be one of cpu/);
});

test("top works with a runtime that has container stats only", async (t) => {
  const fake = await withUsage(t);
  const bare = await startFakeRuntime(t, {
    listContainerStats: () => Promise.resolve({ stats: [] }),
    listPodSandboxStats: () => Promise.reject(new StatusError(Code.Unknown, "no cgroup")),
  });
  bare.containers = fake.containers;
  bare.pods = fake.pods;
  const { code, out } = await bare.keelctl("top", "-n", "1");
  assert.equal(code, 0);
  assert.match(out, /default +web +busy +- +- +- +- +- +- +- +-\/-\/- +2\n/);
});
