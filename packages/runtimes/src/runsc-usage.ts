import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import * as v from "valibot";

const count = v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0)), 0);

/** What `runsc events --stats` prints, as far as it is more than zeros: gVisor leaves out what is 0. */
const statsEvent = v.looseObject({
  type: v.literal("stats"),
  data: v.looseObject({
    cpu: v.looseObject({ usage: v.looseObject({ total: count }) }),
    memory: v.looseObject({ usage: v.looseObject({ usage: count }) }),
    pids: v.looseObject({ current: count }),
  }),
});

/**
 * What a container uses by gVisor's account; undefined when it is no such answer. Memory is an equal share of what all
 * containers of the sandbox use, and there are no single kinds of it. CPU time is the sandbox's, gVisor's own work
 * included, divided as the containers' is.
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
