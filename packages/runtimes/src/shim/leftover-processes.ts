import { readlinkSync } from "node:fs";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { type ProcessStat, readCgroup, readCommandLine, readProcesses } from "@keelson/linux/procfs.ts";

/** The processes whose working directory this is: a bundle's shim, and the process that holds its streams. */
export function processesIn(dir: string): ProcessIdentity[] {
  return readProcesses().filter(({ pid }) => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`) === dir;
    } catch {
      return false;
    }
  });
}

/** The processes in cgroups of which a part of the path has this id in it. */
export function processesOf(id: string): ProcessStat[] {
  return readProcesses().filter(
    ({ pid, state }) =>
      pid !== process.pid && state !== "Z" && (readCgroup(pid) ?? []).some(({ path }) => path.includes(id)),
  );
}

/** The shims that were started for a container, whatever their working directory is by now. */
export function shimsOf(id: string, namespace: string): ProcessIdentity[] {
  return readProcesses().filter(({ pid }) => {
    const line = readCommandLine(pid);
    const has = (flag: string, value: string) => line.some((word, i) => word === flag && line[i + 1] === value);
    return has("-namespace", namespace) && has("-id", id);
  });
}
