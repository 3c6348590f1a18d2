import assert from "node:assert/strict";
import { test } from "node:test";
import { Metrics as MetricsV1 } from "@keelson/shim/gen/io/containerd/cgroups/v1/metrics.ts";
import { Metrics as MetricsV2 } from "@keelson/shim/gen/io/containerd/cgroups/v2/metrics.ts";
import { usageOf } from "./shim-usage.ts";

test("metrics of cgroups v1: nanoseconds, the whole tree, swap without memory", () => {
  const metrics = MetricsV1.fromPartial({
    cpu: { usage: { total: 5n, kernel: 2n, user: 3n } },
    memory: {
      usage: { usage: 100n, limit: 1n << 63n, max: 120n, failcnt: 4n },
      swap: { usage: 130n },
      totalInactiveFile: 30n,
      totalRss: 60n,
      totalCache: 40n,
    },
    pids: { current: 7n },
  });
  const { cpu, memory, swap, pids } = usageOf({ cgroups: 1, metrics });
  assert.deepEqual([cpu?.usageNs, cpu?.userNs, cpu?.systemNs, cpu?.throttledNs], [5n, 3n, 2n, undefined]);
  assert.deepEqual(
    [memory?.usageBytes, memory?.workingSetBytes, memory?.rssBytes, memory?.limitBytes, memory?.maxUsageBytes],
    [100n, 70n, 60n, undefined, 120n],
  );
  assert.deepEqual([swap?.usageBytes, pids], [30n, { current: 7n }]);
});

test("metrics of cgroups v2: microseconds, limits where there are any", () => {
  const metrics = MetricsV2.fromPartial({
    cpu: { usageUsec: 5n },
    memory: {
      usage: 100n,
      inactiveFile: 200n,
      anon: 60n,
      usageLimit: 500n,
      swapUsage: 9n,
      swapLimit: (1n << 64n) - 1n,
    },
    pids: { current: 7n, limit: 9n },
  });
  const { cpu, memory, swap, pids } = usageOf({ cgroups: 2, metrics });
  assert.equal(cpu?.usageNs, 5000n);
  assert.deepEqual([memory?.workingSetBytes, memory?.rssBytes, memory?.limitBytes], [0n, 60n, 500n]);
  assert.deepEqual([swap, pids], [{ usageBytes: 9n }, { current: 7n, limit: 9n }]);
});

test("what a shim does not say is absent", () => {
  for (const usage of [
    usageOf({ cgroups: 1, metrics: MetricsV1.fromPartial({}) }),
    usageOf({ cgroups: 2, metrics: MetricsV2.fromPartial({}) }),
  ])
    assert.deepEqual(usage, { hugepages: [] });
});
