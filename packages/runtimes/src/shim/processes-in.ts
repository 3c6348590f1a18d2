import { readlinkSync } from "node:fs";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { readProcesses } from "@keelson/linux/procfs.ts";

/** Those that were started in a directory and are still there: a bundle's shim, or who holds its streams. */
export function processesIn(dir: string): ProcessIdentity[] {
  return readProcesses().filter(({ pid }) => {
    try {
      return readlinkSync(`/proc/${pid}/cwd`) === dir;
    } catch {
      return false;
    }
  });
}
