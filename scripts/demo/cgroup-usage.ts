import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What a cgroup uses: memory now, CPU time since it was made. */
export interface CgroupUsage {
  readonly memoryBytes: number;
  readonly cpuMs: number;
}

/** Reads a cgroup below the root of the hierarchies: cgroup v2, or v1 with a hierarchy for each controller. */
export function readCgroupUsage(path: string): CgroupUsage {
  const root = "/sys/fs/cgroup";
  if (existsSync(join(root, "cgroup.controllers"))) {
    const cpu = /^usage_usec (\d+)/m.exec(readFileSync(join(root, path, "cpu.stat"), "utf8"))?.[1];
    return { memoryBytes: number(join(root, path, "memory.current")), cpuMs: Number(cpu) / 1e3 };
  }
  return {
    memoryBytes: number(join(root, "memory", path, "memory.usage_in_bytes")),
    cpuMs: number(join(root, "cpuacct", path, "cpuacct.usage")) / 1e6,
  };
}

function number(file: string): number {
  return Number(readFileSync(file, "utf8"));
}
