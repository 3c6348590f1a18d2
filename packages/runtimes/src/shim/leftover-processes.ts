import { readlinkSync } from "node:fs";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { type ProcessStat, readCgroup, readProcesses } from "@keelson/linux/procfs.ts";

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
