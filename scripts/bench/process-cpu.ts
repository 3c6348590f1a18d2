import { readFileSync } from "node:fs";
import type { Side } from "./side.ts";

/** CPU time so far of a process with all of its threads, in ms, without its children (proc_pid_stat(5)); a tick is 10 ms. */
export function processCpuMs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return 10 * (Number(fields[11]) + Number(fields[12]));
}

/** CPU time so far in ms; NaN when it cannot be seen. */
export interface SideCpu {
  /** Of the daemon's process alone. */
  readonly daemonMs: number;
  /** Of the daemon, its helpers and its containers. */
  readonly sideMs: number;
}

export function cpuOf({ cgroup, pid }: Side): SideCpu {
  return { daemonMs: pid === undefined ? Number.NaN : processCpuMs(pid), sideMs: cgroup?.cpuMs() ?? Number.NaN };
}
