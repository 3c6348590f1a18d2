import { readdirSync, readFileSync } from "node:fs";

/** What a process uses. */
export interface DaemonUsage {
  readonly rssKiB: number;
  readonly fds: number;
  readonly threads: number;
}

/** The usage of a process; undefined when it has ended. */
export function usageOf(pid: number): DaemonUsage | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const value = (key: string) => Number(new RegExp(`^${key}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
    return { rssKiB: value("VmRSS"), threads: value("Threads"), fds: readdirSync(`/proc/${pid}/fd`).length };
  } catch {
    return undefined;
  }
}
