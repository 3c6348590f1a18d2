import assert from "node:assert/strict";
import { test } from "node:test";
import { LinuxContainerResources, MetricType } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import { everything, FakeUsage, fakeMachine } from "../testing/fake-usage.ts";
import type { Measured } from "./measured.ts";
import { metricDescriptors, podSandboxMetricsOf } from "./pod-metrics.ts";

const pressure = (us: bigint) => ({
  some: { avg10: 0, avg60: 0, avg300: 0, totalUs: us },
  full: { avg10: 0, avg60: 0, avg300: 0, totalUs: us / 2n },
});
const cgroup: CgroupUsage = {
  cpu: {
    usageNs: 9_999_999_999n,
    userNs: 6_000_000_000n,
    systemNs: 3_000_000_000n,
    periods: 10n,
    throttledPeriods: 4n,
    throttledNs: 2_500_000_000n,
    pressure: pressure(8_000_000n),
  },
  memory: {
    usageBytes: 10n,
    workingSetBytes: 9n,
    rssBytes: 8n,
    cacheBytes: 7n,
    mappedFileBytes: 6n,
    kernelBytes: 5n,
    maxUsageBytes: 11n,
    limitHits: 3n,
    pageFaults: 100n,
    majorPageFaults: 2n,
    oomKills: 1n,
    pressure: pressure(4_000_000n),
  },
  swap: { usageBytes: 12n },
  io: {
    devices: [{ major: 8, minor: 0, readBytes: 1n, writtenBytes: 2n, reads: 3n, writes: 4n }],
    pressure: pressure(2_000_000n),
  },
  pids: { current: 6n, limit: 100n },
  hugepages: [{ size: "2MB", usageBytes: 2n, maxUsageBytes: 4n }],
};
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
const pod: Measured = {
  subject: { id: "/pod", name: "", image: "", container: "", pod: "web-1", namespace: "default" },
  atNs: 70_000_000_000n,
  cgroup,
  interfaces: [{ name: "eth0", ...counters }],
};
const container: Measured = {
  subject: {
    id: "/pod/c",
    name: "c".repeat(64),
    image: "busybox",
    container: "web",
    pod: "web-1",
    namespace: "default",
  },
  atNs: 70_000_000_000n,
  cgroup,
  container: {
    startedAtNs: 60_500_000_000n,
    resources: LinuxContainerResources.fromPartial({
      cpuPeriod: 100_000n,
      cpuQuota: 20_000n,
      cpuShares: 1024n,
      memoryLimitInBytes: 67108864n,
      memorySwapLimitInBytes: -1n,
      unified: { "memory.low": "4096" },
    }),
    disk: { bytes: 8192, inodes: 3 },
    processes: { processes: 2, fileDescriptors: 9, sockets: 1 },
    openFileLimit: 1024,
  },
};
const machine = fakeMachine(new FakeUsage());
const all = () =>
  podSandboxMetricsOf({ podId: "p", pod, containers: [{ id: "c", measured: container }] }, machine, everything);

/** The series of a metric: its own labels and its value. */
function series(name: string, of = all().containerMetrics[0]!.metrics): [string, bigint][] {
  return of
    .filter((m) => m.name === `container_${name}`)
    .map((m) => [m.labelValues.slice(6).join(" "), m.value!.value]);
}

test("every declared metric is reported, with as many labels, and no other", () => {
  const { metrics, containerMetrics } = all();
  const reported = [...metrics, ...containerMetrics[0]!.metrics];
  const descriptors = metricDescriptors(everything);
  assert.equal(descriptors.length, 56);
  assert.deepEqual(new Set(reported.map((m) => m.name)), new Set(descriptors.map((d) => d.name)));
  for (const { name, labelKeys, help } of descriptors) {
    assert.ok(help !== "" && labelKeys.length >= 6, name);
    for (const metric of reported.filter((m) => m.name === name))
      assert.equal(metric.labelValues.length, labelKeys.length, name);
  }
});

test("labels say whose it is, as in cAdvisor: pod, container, image and cgroup, in every metric", () => {
  const [metric] = all().containerMetrics[0]!.metrics;
  assert.deepEqual(metricDescriptors(everything)[1]!.labelKeys, [
    "id",
    "name",
    "image",
    "container",
    "pod",
    "namespace",
  ]);
  assert.deepEqual(metric!.labelValues.slice(0, 6), ["/pod/c", "c".repeat(64), "busybox", "web", "web-1", "default"]);
  assert.deepEqual(all().metrics[0]!.labelValues.slice(0, 6), ["/pod", "", "", "", "web-1", "default"]);
});

test("values are the cgroup's, in whole seconds and bytes", () => {
  const expected: Record<string, [string, bigint][]> = {
    cpu_usage_seconds_total: [["total", 9n]],
    cpu_user_seconds_total: [["", 6n]],
    cpu_system_seconds_total: [["", 3n]],
    cpu_cfs_throttled_seconds_total: [["", 2n]],
    memory_working_set_bytes: [["", 9n]],
    memory_failures_total: [
      ["pgfault hierarchy", 100n],
      ["pgmajfault hierarchy", 2n],
    ],
    memory_swap: [["", 12n]],
    oom_events_total: [["", 1n]],
    fs_usage_bytes: [["/dev/8-1", 8192n]],
    fs_inodes_free: [["/dev/8-1", 900n]],
    fs_writes_bytes_total: [["/dev/8-0", 2n]],
    blkio_device_usage_total: [
      ["/dev/8-0 8 0 Read", 1n],
      ["/dev/8-0 8 0 Write", 2n],
    ],
    processes: [["", 2n]],
    threads: [["", 6n]],
    threads_max: [["", 100n]],
    sockets: [["", 1n]],
    ulimits_soft: [["max_open_files", 1024n]],
    start_time_seconds: [["", 60n]],
    last_seen: [["", 70n]],
    spec_cpu_quota: [["", 20_000n]],
    spec_memory_limit_bytes: [["", 67108864n]],
    spec_memory_swap_limit_bytes: [["", 0n]],
    spec_memory_reservation_limit_bytes: [["", 4096n]],
    pressure_cpu_waiting_seconds_total: [["", 8n]],
    pressure_cpu_stalled_seconds_total: [["", 4n]],
    pressure_io_waiting_seconds_total: [["", 2n]],
    hugetlb_max_usage_bytes: [["2MB", 4n]],
  };
  for (const [name, values] of Object.entries(expected)) assert.deepEqual(series(name), values, name);
  assert.deepEqual(series("network_transmit_packets_dropped_total", all().metrics), [["eth0", 8n]]);
});

test("a pod as a whole has what its cgroup and its network have, and nothing of one container", () => {
  const names = new Set(all().metrics.map((m) => m.name));
  for (const name of [
    "cpu_usage_seconds_total",
    "memory_rss",
    "network_receive_bytes_total",
    "pressure_memory_waiting_seconds_total",
    "threads",
  ])
    assert.ok(names.has(`container_${name}`), name);
  for (const name of [
    "start_time_seconds",
    "fs_usage_bytes",
    "spec_cpu_shares",
    "processes",
    "blkio_device_usage_total",
  ])
    assert.ok(!names.has(`container_${name}`), name);
  assert.deepEqual(series("network_receive_bytes_total"), [], "the network is the pod's, not the container's");
});

test("what only grows is a counter", () => {
  for (const { name, metricType } of all().containerMetrics[0]!.metrics) {
    const grows =
      (name.endsWith("_total") && name !== "container_fs_inodes_total") || name === "container_memory_failcnt";
    assert.equal(metricType, grows ? MetricType.COUNTER : MetricType.GAUGE, name);
  }
});

test("what this kernel does not count is not declared", () => {
  const names = metricDescriptors({ pressure: false, hugepages: true, hugepagePeaks: false }).map((d) => d.name);
  assert.equal(names.length, 56 - 7);
  assert.ok(!names.some((name) => name.includes("pressure") || name.includes("hugetlb_max")));
});

test("one without reads and writes reports zeros for its own disk; no limit of files is the largest number", () => {
  const quiet: Measured = {
    ...container,
    cgroup: { ...cgroup, io: { devices: [] } },
    container: { ...container.container!, openFileLimit: Infinity },
  };
  const { metrics } = podSandboxMetricsOf(
    { podId: "p", pod: undefined, containers: [{ id: "c", measured: quiet }] },
    machine,
    everything,
  ).containerMetrics[0]!;
  assert.deepEqual(series("fs_reads_total", metrics), [["/dev/8-1", 0n]]);
  assert.deepEqual(series("ulimits_soft", metrics), [["max_open_files", 2n ** 64n - 1n]]);
});
