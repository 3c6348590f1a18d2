import { native } from "./native.ts";

/**
 * The texts of many small files of the kernel, read in one job on libuv's pool; null for one that cannot be read or is
 * gone.
 */
export async function readFiles(paths: readonly string[]): Promise<(string | null)[]> {
  return paths.length === 0 ? [] : await native.readFiles(paths);
}

/** The text of /proc/net/dev in each of these network namespaces, given by their pins; null for one that is gone. */
export async function readNetDev(pins: readonly string[]): Promise<(string | null)[]> {
  return pins.length === 0 ? [] : await native.readNetDev(pins);
}

export interface ProcessCounts {
  processes: number;
  fileDescriptors: number;
  /** How many of the file descriptors are sockets. */
  sockets: number;
}

/** Counts the processes that each `cgroup.procs` lists, and what they have open; undefined for a file that is gone. */
export async function countProcesses(procsFiles: readonly string[]): Promise<(ProcessCounts | undefined)[]> {
  if (procsFiles.length === 0) return [];
  const counts = await native.countProcesses(procsFiles);
  return procsFiles.map((_, i) => {
    const [processes = -1, fileDescriptors = 0, sockets = 0] = counts.slice(3 * i, 3 * i + 3);
    return processes < 0 ? undefined : { processes, fileDescriptors, sockets };
  });
}
