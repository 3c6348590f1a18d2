import type { CgroupUsage, MemoryUsage } from "@keelson/linux/cgroup-usage.ts";
import type { Metrics } from "@keelson/shim/any.ts";
import type { Metrics as MetricsV1 } from "@keelson/shim/gen/io/containerd/cgroups/v1/metrics.ts";
import type { Metrics as MetricsV2 } from "@keelson/shim/gen/io/containerd/cgroups/v2/metrics.ts";

/** Limits from here on mean that there is none. */
const noLimitFrom = 1n << 62n;

/** What a container uses according to its shim, in the same form as for the host's cgroups. */
export function usageOf(answer: Metrics): CgroupUsage {
  return answer.cgroups === 1 ? usageOfV1(answer.metrics) : usageOfV2(answer.metrics);
}

function usageOfV1({ cpu, memory, pids, memoryOomControl }: MetricsV1): CgroupUsage {
  const { usage, throttling } = cpu ?? {};
  const swapBytes = (memory?.swap?.usage ?? 0n) - (memory?.usage?.usage ?? 0n);
  return {
    ...(usage === undefined
      ? {}
      : {
          cpu: {
            usageNs: usage.total,
            userNs: usage.user,
            systemNs: usage.kernel,
            ...(throttling === undefined
              ? {}
              : {
                  periods: throttling.periods,
                  throttledPeriods: throttling.throttledPeriods,
                  throttledNs: throttling.throttledTime,
                }),
          },
        }),
    ...(memory?.usage === undefined
      ? {}
      : {
          memory: memoryUsage({
            usageBytes: memory.usage.usage,
            inactiveFileBytes: memory.totalInactiveFile,
            limitBytes: memory.usage.limit,
            rssBytes: memory.totalRss,
            cacheBytes: memory.totalCache,
            mappedFileBytes: memory.totalMappedFile,
            pageFaults: memory.totalPgFault,
            majorPageFaults: memory.totalPgMajFault,
            maxUsageBytes: memory.usage.max,
            limitHits: memory.usage.failcnt,
            oomKills: memoryOomControl?.oomKill ?? 0n,
          }),
        }),
    ...(memory?.swap === undefined ? {} : { swap: { usageBytes: swapBytes < 0n ? 0n : swapBytes } }),
    ...pidsUsage(pids),
    hugepages: [],
  };
}

function usageOfV2({ cpu, memory, pids, memoryEvents }: MetricsV2): CgroupUsage {
  return {
    ...(cpu === undefined
      ? {}
      : {
          cpu: {
            usageNs: cpu.usageUsec * 1000n,
            userNs: cpu.userUsec * 1000n,
            systemNs: cpu.systemUsec * 1000n,
            periods: cpu.nrPeriods,
            throttledPeriods: cpu.nrThrottled,
            throttledNs: cpu.throttledUsec * 1000n,
          },
        }),
    ...(memory === undefined
      ? {}
      : {
          memory: memoryUsage({
            usageBytes: memory.usage,
            inactiveFileBytes: memory.inactiveFile,
            limitBytes: memory.usageLimit,
            rssBytes: memory.anon,
            cacheBytes: memory.file,
            mappedFileBytes: memory.fileMapped,
            pageFaults: memory.pgfault,
            majorPageFaults: memory.pgmajfault,
            maxUsageBytes: memory.maxUsage,
            limitHits: memoryEvents?.max ?? 0n,
            oomKills: memoryEvents?.oomKill ?? 0n,
          }),
          swap: { usageBytes: memory.swapUsage, ...limit(memory.swapLimit) },
        }),
    ...pidsUsage(pids),
    hugepages: [],
  };
}

function memoryUsage({
  inactiveFileBytes,
  limitBytes,
  ...rest
}: Omit<MemoryUsage, "workingSetBytes" | "limitBytes"> & {
  inactiveFileBytes: bigint;
  limitBytes: bigint;
}): MemoryUsage {
  const workingSetBytes = rest.usageBytes > inactiveFileBytes ? rest.usageBytes - inactiveFileBytes : 0n;
  return { ...rest, workingSetBytes, ...limit(limitBytes) };
}

function limit(limitBytes: bigint): { limitBytes?: bigint } {
  return limitBytes === 0n || limitBytes >= noLimitFrom ? {} : { limitBytes };
}

function pidsUsage(pids: { current: bigint; limit: bigint } | undefined): Pick<CgroupUsage, "pids"> {
  if (pids === undefined) return {};
  return {
    pids: { current: pids.current, ...(pids.limit === 0n || pids.limit >= noLimitFrom ? {} : { limit: pids.limit }) },
  };
}
