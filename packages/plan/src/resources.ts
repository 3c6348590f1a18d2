import { type HugepageLimit, LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { CpuSpec, MemorySpec, ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import { checkInteger, checkSingleLine, invalidField, quote, unsupportedHere } from "./field-check.ts";
import type { HostFacts } from "./host-facts.ts";

/**
 * CRI: LinuxContainerResources → the runtime spec's resources, for creating and updating; zero means not set. Throws
 * InvalidArgument naming the field, FailedPrecondition for a limit that this machine's cgroups cannot enforce.
 *
 * @param field the message's path, such as `linux.resources`
 */
export function planResources(
  field: string,
  resources: LinuxContainerResources | undefined,
  host: HostFacts,
): ResourcesSpec {
  if (resources === undefined) return {};
  const cpu = planCpu(field, resources, host);
  const memory = planMemory(field, resources, host);
  const hugepageLimits = planHugepages(field, resources.hugepageLimits, host);
  const unified = planUnified(field, resources.unified, host);
  return {
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(hugepageLimits.length > 0 ? { hugepageLimits } : {}),
    ...(Object.keys(unified).length > 0 ? { unified } : {}),
  };
}

/** The score to give; when the machine's minimum raised it, also what was asked for, to be logged once. */
export interface OomScoreAdjPlan {
  value: number;
  raisedFrom?: number;
}

/**
 * proc_pid_oom_score_adj(5): going below one's own score needs CAP_SYS_RESOURCE. Without resources the score is 0: a
 * container must not inherit the daemon's protection. Throws InvalidArgument.
 */
export function planOomScoreAdj(
  field: string,
  resources: LinuxContainerResources | undefined,
  host: HostFacts,
): OomScoreAdjPlan {
  const asked = checkInteger(`${field}.oom_score_adj`, resources?.oomScoreAdj ?? 0n, -1000, 1000);
  return asked < host.oomScoreAdjMin ? { value: host.oomScoreAdjMin, raisedFrom: asked } : { value: asked };
}

/** The kernel clamps shares to this range (kernel/sched: MIN_SHARES, MAX_SHARES); runc would refuse them instead. */
const sharesRange = { min: 2, max: 262_144 };

/**
 * sched-bwc.rst: a period of 1 ms to 1 s; a quota of at least 1 ms, or -1 for none. Shares are passed on as they are:
 * the runtimes convert them to the weight of cgroup v2, and as the formula differs between their versions, all
 * containers must get theirs from the same one.
 */
function planCpu(field: string, r: LinuxContainerResources, host: HostFacts): CpuSpec {
  const cpu: CpuSpec = {};
  if (r.cpuShares !== 0n)
    cpu.shares = Math.min(
      Math.max(checkInteger(`${field}.cpu_shares`, r.cpuShares, 1, Number.MAX_SAFE_INTEGER), sharesRange.min),
      sharesRange.max,
    );
  if (r.cpuQuota === -1n) {
    // crun 1.8 writes it to cgroup v1 as an unsigned number, and fails. No quota is the default; for updates there is
    // `limitFiles`.
    if (host.cgroupVersion === "v2") cpu.quota = -1;
  } else if (r.cpuQuota !== 0n)
    cpu.quota = checkInteger(`${field}.cpu_quota`, r.cpuQuota, 1000, Number.MAX_SAFE_INTEGER);
  if (r.cpuPeriod !== 0n) cpu.period = checkInteger(`${field}.cpu_period`, r.cpuPeriod, 1000, 1_000_000);
  if (r.cpusetCpus !== "") cpu.cpus = checkList(`${field}.cpuset_cpus`, r.cpusetCpus);
  if (r.cpusetMems !== "") cpu.mems = checkList(`${field}.cpuset_mems`, r.cpusetMems);
  return cpu;
}

/** cpuset(7), "List format". */
function checkList(field: string, list: string): string {
  if (list.length > 4096 || !/^\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*$/.test(list))
    throw invalidField(field, `${quote(list)} must be a list such as 0-3,7`);
  return list;
}

function planMemory(field: string, r: LinuxContainerResources, host: HostFacts): MemorySpec {
  const memory: MemorySpec = {};
  if (r.memoryLimitInBytes !== 0n) memory.limit = checkBytes(`${field}.memory_limit_in_bytes`, r.memoryLimitInBytes);
  const swap = planSwap(field, r.memorySwapLimitInBytes, memory.limit, host);
  if (swap !== undefined) memory.swap = swap;
  return memory;
}

/** Memory and swap together. When it is not set, it is the memory limit: no swap, as in containerd and CRI-O. */
function planSwap(field: string, asked: bigint, limit: number | undefined, host: HostFacts): number | undefined {
  const name = `${field}.memory_swap_limit_in_bytes`;
  if (asked === 0n) return host.hasSwapAccounting ? limit : undefined;
  const swap = checkBytes(name, asked);
  if (swap !== -1 && limit === undefined) throw invalidField(name, "needs memory_limit_in_bytes, which it includes");
  if (swap !== -1 && (limit === -1 || swap < limit!))
    throw invalidField(
      name,
      `is ${swap}, which is less than memory_limit_in_bytes; it limits memory and swap together`,
    );
  if (host.hasSwapAccounting) return swap;
  if (swap === -1 || swap === limit) return undefined;
  throw unsupportedHere(
    name,
    "cannot be enforced: this kernel does not account for swap (see swapaccount= in its parameters)",
  );
}

/** Above 2^53 bytes, 8 PiB, a limit is the same as none, and JSON numbers are no longer exact. */
function checkBytes(field: string, bytes: bigint): number {
  if (bytes < -1n) throw invalidField(field, `is ${bytes}; it must be a number of bytes, or -1 for no limit`);
  return bytes > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(bytes);
}

/**
 * A kubelet sends a limit for every page size, 0 for those that the container may not use. Where the kernel cannot
 * count huge pages, 0 is ignored, as in containerd; any other limit is refused.
 */
function planHugepages(
  field: string,
  limits: readonly HugepageLimit[],
  host: HostFacts,
): { pageSize: string; limit: number }[] {
  return limits.flatMap(({ pageSize, limit }, i) => {
    const name = `${field}.hugepage_limits[${i}]`;
    if (!/^[1-9]\d{0,5}[KMG]B$/.test(pageSize))
      throw invalidField(`${name}.page_size`, `${quote(pageSize)} must be a size such as 2MB`);
    if (host.controllers.includes("hugetlb") && host.hugepageSizes.includes(pageSize))
      return [{ pageSize, limit: checkBytes(`${name}.limit`, limit) }];
    if (limit === 0n) return [];
    throw unsupportedHere(
      name,
      `(${pageSize}) cannot be enforced: this machine ${host.controllers.includes("hugetlb") ? `has only ${host.hugepageSizes.join(", ") || "no huge pages"}` : "has no hugetlb controller"}`,
    );
  });
}

/** Files of the cgroup v2 interface (cgroup-v2.rst). */
function planUnified(
  field: string,
  unified: Readonly<Record<string, string>>,
  host: HostFacts,
): Record<string, string> {
  const entries = Object.entries(unified);
  if (entries.length > 0 && host.cgroupVersion !== "v2")
    throw invalidField(`${field}.unified`, "is for cgroup v2; this machine has its controllers on v1");
  for (const [file, value] of entries) {
    if (!/^[a-z0-9_]+(?:\.[A-Za-z0-9_]+)+$/.test(file))
      throw invalidField(`${field}.unified`, `${quote(file)} is not a file of cgroup v2 such as memory.high`);
    checkSingleLine(`${field}.unified[${file}]`, value, 4096);
  }
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
