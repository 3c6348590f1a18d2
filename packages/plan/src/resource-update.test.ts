import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import { checkMemoryInUse, checkPodResources, limitFiles, mergeResources, resourcesBefore } from "./resource-update.ts";
import { hostFrom } from "./testing/plan-fixture.ts";

const r = (fields: Partial<LinuxContainerResources>) => LinuxContainerResources.fromPartial(fields);

const full = r({
  cpuPeriod: 100_000n,
  cpuQuota: 50_000n,
  cpuShares: 512n,
  memoryLimitInBytes: 100n,
  oomScoreAdj: 5n,
  cpusetCpus: "0",
  cpusetMems: "0",
  hugepageLimits: [{ pageSize: "2MB", limit: 1n }],
  unified: { "memory.high": "1" },
  memorySwapLimitInBytes: 150n,
});

test("an update changes the fields that are set", () => {
  assert.deepEqual(mergeResources(full, r({})), full);
  assert.deepEqual(mergeResources(undefined, full), full);
  const changes: Partial<LinuxContainerResources>[] = [
    { cpuPeriod: 7n },
    { cpuQuota: -1n },
    { cpuShares: 2n },
    { oomScoreAdj: -7n },
    { cpusetCpus: "1" },
    { cpusetMems: "1" },
    { hugepageLimits: [{ pageSize: "2MB", limit: 9n }] },
    { unified: { "memory.high": "max" } },
    { memorySwapLimitInBytes: -1n },
    { memoryLimitInBytes: 200n, memorySwapLimitInBytes: 200n },
  ];
  for (const change of changes)
    assert.deepEqual(mergeResources(full, r(change)), { ...full, ...change }, Object.keys(change).join());
});

test("page sizes and files of unified that an update does not name are kept", () => {
  const merged = mergeResources(
    full,
    r({ hugepageLimits: [{ pageSize: "1GB", limit: 2n }], unified: { "io.weight": "10" } }),
  );
  assert.deepEqual(merged.hugepageLimits, [
    { pageSize: "2MB", limit: 1n },
    { pageSize: "1GB", limit: 2n },
  ]);
  assert.deepEqual(merged.unified, { "memory.high": "1", "io.weight": "10" });
});

test("when only the memory limit changes, the amount of swap on top of it stays the same", () => {
  const swapOf = (before: Partial<LinuxContainerResources>, limit: bigint) =>
    mergeResources(r(before), r({ memoryLimitInBytes: limit })).memorySwapLimitInBytes;
  assert.equal(swapOf({ memoryLimitInBytes: 100n, memorySwapLimitInBytes: 150n }, 300n), 350n);
  assert.equal(swapOf({ memoryLimitInBytes: 100n, memorySwapLimitInBytes: 100n }, 50n), 50n);
  assert.equal(swapOf({ memoryLimitInBytes: 100n, memorySwapLimitInBytes: -1n }, 50n), -1n);
  assert.equal(swapOf({ memoryLimitInBytes: 100n, memorySwapLimitInBytes: 150n }, -1n), -1n);
  assert.equal(swapOf({ memoryLimitInBytes: 100n }, 50n), 0n);
});

test("undoing an update sets the old values, and no limit where there was none", () => {
  assert.deepEqual(resourcesBefore(full, mergeResources(full, r({ memoryLimitInBytes: 300n }))), full);
  const none = resourcesBefore(undefined, full);
  assert.deepEqual(
    [none.cpuPeriod, none.cpuQuota, none.cpuShares, none.memoryLimitInBytes, none.memorySwapLimitInBytes],
    [100_000n, -1n, 1024n, -1n, -1n],
  );
  assert.deepEqual(none.hugepageLimits, [{ pageSize: "2MB", limit: 2n ** 63n - 1n }]);
  assert.deepEqual(resourcesBefore(undefined, r({ cpuShares: 5n })), r({ cpuShares: 1024n }));
});

test("files are written where the runtimes leave something undone", () => {
  const files = (cgroupVersion: "v1" | "hybrid" | "v2", resources: Partial<LinuxContainerResources>) =>
    limitFiles(r(resources), hostFrom({ cgroupVersion })).map(({ file, value }) => `${file}=${value}`);
  assert.deepEqual(files("v2", { cpuQuota: -1n }), ["cpu.max=max"]);
  for (const version of ["v1", "hybrid"] as const)
    assert.deepEqual(files(version, { cpuQuota: -1n }), ["cpu.cfs_quota_us=-1"]);
  const pages = {
    hugepageLimits: [
      { pageSize: "2MB", limit: 4_194_304n },
      { pageSize: "64KB", limit: 0n },
    ],
  };
  assert.deepEqual(files("v2", pages), ["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"]);
  assert.deepEqual(files("hybrid", pages), [
    "hugetlb.2MB.limit_in_bytes=4194304",
    "hugetlb.2MB.rsvd.limit_in_bytes=4194304",
  ]);
});

test("a limit below the memory in use is refused with both numbers", () => {
  checkMemoryInUse("linux", 10n, 10);
  checkMemoryInUse("linux", 10n, undefined);
  checkMemoryInUse("linux", -1n, 10);
  checkMemoryInUse("linux", 0n, 10);
  assert.throws(() => checkMemoryInUse("linux", 10n, 1_572_864), {
    code: Code.FailedPrecondition,
    message: /^linux\.memory_limit_in_bytes is 10 \(10 bytes\), less than the 1572864 bytes \(1\.5 MiB\)/,
  });
});

test("a pod's resources are checked, including those that this machine could not enforce", () => {
  const host = hostFrom({ cgroupVersion: "v1", controllers: [], hugepageSizes: [], hasSwapAccounting: false });
  checkPodResources("resources", full, host);
  checkPodResources("resources", undefined, host);
  for (const [bad, message] of [
    [{ cpuQuota: -2n }, /^overhead\.cpu_quota /],
    [{ memoryLimitInBytes: -5n }, /^overhead\.memory_limit_in_bytes /],
    [{ oomScoreAdj: 2000n }, /^overhead\.oom_score_adj /],
    [{ hugepageLimits: [{ pageSize: "big", limit: 1n }] }, /^overhead\.hugepage_limits\[0\]\.page_size /],
    [{ unified: { "../x": "1" } }, /^overhead\.unified /],
  ] satisfies [Partial<LinuxContainerResources>, RegExp][]) {
    assert.throws(() => checkPodResources("overhead", r(bad), host), { code: Code.InvalidArgument, message });
  }
});
