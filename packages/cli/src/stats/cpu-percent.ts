import type { CpuUsage } from "@keelson/cri/gen/runtime/v1/api.ts";

/**
 * How much of one CPU was used between two samples, in percent: 250 is two and a half CPUs. Without an earlier sample,
 * the runtime's own figure for the last seconds; undefined when it has none.
 */
export function cpuPercent(before: CpuUsage | undefined, now: CpuUsage | undefined): number | undefined {
  const used = now?.usageCoreNanoSeconds?.value;
  const usedBefore = before?.usageCoreNanoSeconds?.value;
  if (now === undefined) return undefined;
  // The same sample twice, or a container that was restarted: its clock continues, its usage starts again from 0.
  if (
    before === undefined ||
    used === undefined ||
    usedBefore === undefined ||
    now.timestamp <= before.timestamp ||
    used < usedBefore
  ) {
    return now.usageNanoCores === undefined ? undefined : Number(now.usageNanoCores.value) / 1e7;
  }
  return (Number(used - usedBefore) / Number(now.timestamp - before.timestamp)) * 100;
}
