import { readlinkSync } from "node:fs";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { readProcesses } from "@keelson/linux/procfs.ts";

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
