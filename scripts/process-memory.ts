import { readdirSync, readFileSync } from "node:fs";

/** The processes of our PID namespace whose command line (arguments joined by spaces) `matches`. */
export function findProcesses(matches: (command: string, args: readonly string[]) => boolean): number[] {
  const found: number[] = [];
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const args = (read(`/proc/${name}/cmdline`) ?? "").split("\0").slice(0, -1);
    if (args.length > 0 && matches(args.join(" "), args)) found.push(Number(name));
  }
  return found;
}

/** Resident set size in KiB, shared pages included; 0 when the process has ended (proc_pid_status(5)). */
export function rssKiB(pid: number): number {
  return kiB(read(`/proc/${pid}/status`), "VmRSS");
}

/** Proportional set size in KiB, in which a page shared by n processes counts 1/n (proc_pid_smaps(5)). */
export function pssKiB(pid: number): number {
  return kiB(read(`/proc/${pid}/smaps_rollup`), "Pss");
}

/** How much memory the machine could still give to processes, in KiB (proc_meminfo(5)). */
export function memAvailableKiB(): number {
  return kiB(read("/proc/meminfo"), "MemAvailable");
}

function kiB(text: string | undefined, key: string): number {
  return Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text ?? "")?.[1] ?? 0);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // the process has ended
  }
}
