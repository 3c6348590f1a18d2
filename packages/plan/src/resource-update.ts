import { LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import { invalidField, unsupportedHere } from "./field-check.ts";
import { formatBytes } from "./format-bytes.ts";
import type { HostFacts } from "./host-facts.ts";
import { planOomScoreAdj, planResources } from "./resources.ts";

/**
 * CRI: UpdateContainerResources changes the fields that are set. The swap limit includes memory: when only the memory
 * limit changes, the amount of swap on top of it stays the same.
 */
export function mergeResources(
  now: LinuxContainerResources | undefined,
  update: LinuxContainerResources,
): LinuxContainerResources {
  const before = now ?? LinuxContainerResources.fromPartial({});
  const pageSizes = new Map(
    [...before.hugepageLimits, ...update.hugepageLimits].map((limit) => [limit.pageSize, limit]),
  );
  return {
    cpuPeriod: update.cpuPeriod || before.cpuPeriod,
    cpuQuota: update.cpuQuota || before.cpuQuota,
    cpuShares: update.cpuShares || before.cpuShares,
    memoryLimitInBytes: update.memoryLimitInBytes || before.memoryLimitInBytes,
    oomScoreAdj: update.oomScoreAdj || before.oomScoreAdj,
    cpusetCpus: update.cpusetCpus || before.cpusetCpus,
    cpusetMems: update.cpusetMems || before.cpusetMems,
    hugepageLimits: [...pageSizes.values()],
    unified: { ...before.unified, ...update.unified },
    memorySwapLimitInBytes: mergeSwap(before, update),
  };
}

function mergeSwap(before: LinuxContainerResources, update: LinuxContainerResources): bigint {
  if (update.memorySwapLimitInBytes !== 0n) return update.memorySwapLimitInBytes;
  const { memoryLimitInBytes: oldLimit, memorySwapLimitInBytes: oldSwap } = before;
  const newLimit = update.memoryLimitInBytes;
  if (oldSwap <= 0n || newLimit === 0n) return oldSwap;
  return newLimit === -1n ? -1n : newLimit + (oldSwap - oldLimit);
}

/**
 * The resources that undo an update that failed: those before it, and for what only the update set, the value that
 * means no limit. CPUs, NUMA nodes and the files of `unified` have no such value: what has been written to them stays.
 */
export function resourcesBefore(
  now: LinuxContainerResources | undefined,
  attempted: LinuxContainerResources,
): LinuxContainerResources {
  const before = now ?? LinuxContainerResources.fromPartial({});
  const known = new Set(before.hugepageLimits.map((limit) => limit.pageSize));
  const unlimited = attempted.hugepageLimits
    .filter(({ pageSize }) => !known.has(pageSize))
    .map(({ pageSize }) => ({ pageSize, limit: 2n ** 63n - 1n }));
  const or = (value: bigint, attempt: bigint, none: bigint) => (value === 0n && attempt !== 0n ? none : value);
  const limit = or(before.memoryLimitInBytes, attempted.memoryLimitInBytes, -1n);
  return {
    ...before,
    cpuPeriod: or(before.cpuPeriod, attempted.cpuPeriod, 100_000n),
    cpuQuota: or(before.cpuQuota, attempted.cpuQuota, -1n),
    cpuShares: or(before.cpuShares, attempted.cpuShares, 1024n),
    memoryLimitInBytes: limit,
    memorySwapLimitInBytes: limit === -1n ? -1n : before.memorySwapLimitInBytes,
    hugepageLimits: [...before.hugepageLimits, ...unlimited],
  };
}

/** A file of a container's cgroup, and what is written to it. */
export interface LimitFile {
  controller: string;
  file: string;
  value: string;
  /** Kernels without this file have nothing that it could limit. */
  isOptional: boolean;
}

/**
 * What the OCI runtimes' `update` leaves undone: runc 1.1 ignores huge pages; crun 1.8 cannot write "no quota" to
 * cgroup v1, and does not write it to v2 when there is no period.
 */
export function limitFiles(resources: LinuxContainerResources, host: HostFacts): LimitFile[] {
  const isV2 = host.cgroupVersion === "v2";
  const noQuota = isV2 ? { file: "cpu.max", value: "max" } : { file: "cpu.cfs_quota_us", value: "-1" };
  const quota = resources.cpuQuota === -1n ? [{ controller: "cpu", ...noQuota, isOptional: false }] : [];
  const suffix = isV2 ? "max" : "limit_in_bytes";
  const pages = resources.hugepageLimits.filter(
    ({ pageSize }) => host.controllers.includes("hugetlb") && host.hugepageSizes.includes(pageSize),
  );
  return [
    ...quota,
    ...pages.flatMap(({ pageSize, limit }) => [
      { controller: "hugetlb", file: `hugetlb.${pageSize}.${suffix}`, value: limit.toString(), isOptional: false },
      // For reservations by mmap(2), since Linux 5.7.
      { controller: "hugetlb", file: `hugetlb.${pageSize}.rsvd.${suffix}`, value: limit.toString(), isOptional: true },
    ]),
  ];
}

/**
 * Throws FailedPrecondition when the container uses more memory than the new limit: cgroup v2 would kill its processes.
 * Both are in bytes; `limit` is the CRI's value.
 */
export function checkMemoryInUse(field: string, limit: bigint, inUse: number | undefined): void {
  if (limit <= 0n || inUse === undefined || limit >= BigInt(inUse)) return;
  throw unsupportedHere(
    `${field}.memory_limit_in_bytes`,
    `is ${limit} (${formatBytes(Number(limit))}), less than the ${inUse} bytes (${formatBytes(inUse)}) that the container uses now; it must give memory back first`,
  );
}

/**
 * CRI: PodSandboxConfig.linux.overhead and resources, and UpdatePodSandboxResources, are the size of what runs the pod;
 * the limits of the pod's cgroup are set by the kubelet itself. So these values are only checked, as if the machine
 * supported everything. Throws InvalidArgument.
 */
export function checkPodResources(
  field: string,
  resources: LinuxContainerResources | undefined,
  host: HostFacts,
): void {
  const hugepageSizes = (resources?.hugepageLimits ?? []).map((limit) => limit.pageSize);
  const everything: HostFacts = {
    ...host,
    cgroupVersion: "v2",
    hasSwapAccounting: true,
    controllers: ["hugetlb"],
    hugepageSizes,
  };
  planResources(field, resources, everything);
  planOomScoreAdj(field, resources, everything);
}

/** Throws InvalidArgument for a message that only has a meaning on Windows. */
export function refuseWindows(windows: object | undefined): void {
  if (windows !== undefined) throw invalidField("windows", "is only for Windows; this runtime runs Linux containers");
}
