import { readFileSync } from "node:fs";
import type { Side } from "./side.ts";

/**
 * The CPU time so far of a process with all its threads, but not its children, in ms (proc_pid_stat(5): 10 ms a tick).
 */
export function processCpuMs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

/** CPU time so far in ms; NaN when it cannot be seen. */
export interface SideCpu {
  /** The daemon's process alone. */
  readonly daemonMs: number;
  /** The daemon, its helpers and its containers. */
  readonly sideMs: number;
}

export function cpuOf({ cgroup, pid }: Side): SideCpu {
  return { daemonMs: pid === undefined ? Number.NaN : processCpuMs(pid), sideMs: cgroup?.cpuMs() ?? Number.NaN };
}
