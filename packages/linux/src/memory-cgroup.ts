import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type CgroupLayout, controllerDir } from "./cgroup.ts";
import { isErrno } from "./errno.ts";

/** What a cgroup's memory controller says about its limit. */
export interface MemoryPressure {
  /** How many processes of it and below any OOM killer has ended. v1 forgets those of cgroups that are gone. */
  oomKills: number;
  /** Undefined: none. */
  limitBytes?: number;
  /** Whether its usage has reached its own limit. */
  hasReachedLimit: boolean;
}

/** v1 shows "no limit" as the largest number of bytes in whole pages. */
const v1Unlimited = 2 ** 62;

/** v1 charges pages in batches, so the maximum may stay a little below the limit. */
const v1BatchBytes = 64 * 4096;

/**
 * Bytes that a cgroup and those below it cannot give back at once: its usage without inactive file pages, as kubelets
 * count it. Undefined when there is no such cgroup or no memory controller.
 */
export function memoryWorkingSet(layout: CgroupLayout, path: string): number | undefined {
  const dir = controllerDir(layout, path, "memory");
  if (dir === undefined) return undefined;
  const isV2 = layout.kind === "v2";
  const usage = numberIn(join(dir, isV2 ? "memory.current" : "memory.usage_in_bytes"));
  if (usage === undefined) return undefined;
  const inactiveFile = keyedIn(join(dir, "memory.stat")).get(isV2 ? "inactive_file" : "total_inactive_file") ?? 0;
  return Math.max(0, usage - inactiveFile);
}

/** Undefined when there is no such cgroup or no memory controller. */
export function memoryPressure(layout: CgroupLayout, path: string): MemoryPressure | undefined {
  const dir = controllerDir(layout, path, "memory");
  if (dir === undefined) return undefined;
  return layout.kind === "v2" ? pressureV2(dir) : pressureV1(dir);
}

/** cgroup-v2.rst, memory.events: includes the cgroups below, also those that are gone. */
function pressureV2(dir: string): MemoryPressure | undefined {
  const events = keyedIn(join(dir, "memory.events"));
  const oomKills = events.get("oom_kill");
  if (oomKills === undefined) return undefined;
  const limitBytes = numberIn(join(dir, "memory.max"));
  const own = keyedIn(join(dir, "memory.events.local"));
  return { oomKills, ...(limitBytes === undefined ? {} : { limitBytes }), hasReachedLimit: (own.get("oom") ?? 0) > 0 };
}

/** cgroup-v1/memory.rst */
function pressureV1(dir: string): MemoryPressure | undefined {
  const limit = numberIn(join(dir, "memory.limit_in_bytes"));
  if (limit === undefined) return undefined;
  const oomKills = subtree(dir).reduce(
    (sum, each) => sum + (keyedIn(join(each, "memory.oom_control")).get("oom_kill") ?? 0),
    0,
  );
  if (limit >= v1Unlimited) return { oomKills, hasReachedLimit: false };
  const highest = numberIn(join(dir, "memory.max_usage_in_bytes")) ?? 0;
  return { oomKills, limitBytes: limit, hasReachedLimit: highest >= limit - v1BatchBytes };
}

function subtree(dir: string): string[] {
  try {
    const below = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [dir, ...below.flatMap((entry) => subtree(join(dir, entry.name)))];
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENODEV")) return [];
    throw error;
  }
}

/** The number in a file; undefined for `max` and when there is no such file. */
function numberIn(file: string): number | undefined {
  const text = textIn(file)?.trim() ?? "";
  return /^\d+$/.test(text) ? Number(text) : undefined;
}

/** The lines of a key and a number; empty when there is no such file. */
function keyedIn(file: string): Map<string, number> {
  const pairs = (textIn(file) ?? "").matchAll(/^(\w+) (\d+)$/gm);
  return new Map(Array.from(pairs, ([, key, value]) => [key!, Number(value)]));
}

function textIn(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENODEV", "EOPNOTSUPP", "ENOTSUP")) return undefined;
    throw error;
  }
}
