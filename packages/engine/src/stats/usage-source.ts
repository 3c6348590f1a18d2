import { join } from "node:path";
import { countProcesses, type ProcessCounts, readFiles, readNetDev } from "@keelson/linux/batch.ts";
import { type CgroupUsage, readCgroupUsages, type UsageDetail } from "@keelson/linux/cgroup-usage.ts";
import { type CgroupLayout, controllerDir } from "@keelson/linux/cgroup.ts";
import { statfs } from "@keelson/linux/file.ts";
import { type InterfaceCounters, parseNetDev } from "@keelson/linux/net-dev.ts";
import { type DiskUsage, diskUsageAsync } from "@keelson/linux/tree.ts";

/** A file system as a whole. */
export interface FileSystemSize {
  sizeBytes: bigint;
  inodes: bigint;
  inodesFree: bigint;
}

/** Where usage is read from. Each call reads many at once; undefined stands for what is gone. Unit tests use a fake. */
export interface UsageSource {
  /** @param paths of cgroups, relative to the hierarchies' roots. */
  cgroups(paths: readonly string[], detail: UsageDetail): Promise<(CgroupUsage | undefined)[]>;
  /** The interfaces, except the loopback, of network namespaces that are given by their pins. */
  interfaces(pins: readonly string[]): Promise<(InterfaceCounters[] | undefined)[]>;
  /** The processes of cgroups and what they have open. */
  processes(cgroupPaths: readonly string[]): Promise<(ProcessCounts | undefined)[]>;
  /** The soft limit of open files of processes; Infinity for none. */
  openFileLimits(pids: readonly number[]): Promise<(number | undefined)[]>;
  disk(dir: string): Promise<DiskUsage>;
  fileSystem(dir: string): FileSystemSize;
  /** ns since 1970. */
  nowNs(): bigint;
  /** From a monotonic clock, in ms. */
  nowMs(): number;
}

export class LinuxUsageSource implements UsageSource {
  readonly #layout: CgroupLayout;
  readonly #hugepageSizes: readonly string[];

  constructor(layout: CgroupLayout, hugepageSizes: readonly string[]) {
    this.#layout = layout;
    this.#hugepageSizes = hugepageSizes;
  }

  cgroups(paths: readonly string[], detail: UsageDetail): Promise<(CgroupUsage | undefined)[]> {
    return readCgroupUsages(this.#layout, paths, detail, this.#hugepageSizes);
  }

  async interfaces(pins: readonly string[]): Promise<(InterfaceCounters[] | undefined)[]> {
    return (await readNetDev(pins)).map((text) => (text === null ? undefined : parseNetDev(text)));
  }

  processes(cgroupPaths: readonly string[]): Promise<(ProcessCounts | undefined)[]> {
    // Any hierarchy will do: a process is in the same cgroup in all of them.
    const dirOf = (path: string) =>
      this.#layout.kind === "v2"
        ? join(this.#layout.root, path)
        : (controllerDir(this.#layout, path, "memory") ?? controllerDir(this.#layout, path, "pids") ?? "");
    return countProcesses(cgroupPaths.map((path) => join(dirOf(path), "cgroup.procs")));
  }

  async openFileLimits(pids: readonly number[]): Promise<(number | undefined)[]> {
    const texts = await readFiles(pids.map((pid) => `/proc/${pid}/limits`));
    return texts.map((text) => {
      const soft = /^Max open files +(\d+|unlimited)/m.exec(text ?? "")?.[1];
      return soft === undefined ? undefined : soft === "unlimited" ? Infinity : Number(soft);
    });
  }

  disk(dir: string): Promise<DiskUsage> {
    return diskUsageAsync(dir);
  }

  fileSystem(dir: string): FileSystemSize {
    const { blocks, blockSizeBytes, inodes, inodesFree } = statfs(dir);
    return { sizeBytes: blocks * blockSizeBytes, inodes, inodesFree };
  }

  nowNs(): bigint {
    return BigInt(Date.now()) * 1_000_000n;
  }

  nowMs(): number {
    return performance.now();
  }
}
