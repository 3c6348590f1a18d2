import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import * as v from "valibot";

const count = v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0)), 0);

/** The part of what `runsc events --stats` prints that we use; gVisor leaves out what is 0. */
const statsEvent = v.looseObject({
  type: v.literal("stats"),
  data: v.looseObject({
    cpu: v.looseObject({ usage: v.looseObject({ total: count }) }),
    memory: v.looseObject({ usage: v.looseObject({ usage: count }) }),
    pids: v.looseObject({ current: count }),
  }),
});

/**
 * What a container uses according to gVisor; undefined for another kind of answer. Memory is an equal share of what all
 * containers of the sandbox use, without its kinds. CPU time is the sandbox's, gVisor's own work included, divided in
 * proportion to the containers'.
 */
export function usageInEvent(answer: string): CgroupUsage | undefined {
  let event: unknown;
  try {
    event = JSON.parse(answer);
  } catch {
    return undefined;
  }
  const { success, output } = v.safeParse(statsEvent, event);
  if (!success) return undefined;
  const { cpu, memory, pids } = output.data;
  const usageBytes = BigInt(memory.usage.usage);
  return {
    cpu: { usageNs: BigInt(cpu.usage.total) },
    memory: { usageBytes, workingSetBytes: usageBytes },
    pids: { current: BigInt(pids.current) },
    hugepages: [],
  };
}
