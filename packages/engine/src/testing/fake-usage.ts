import type { ProcessCounts } from "@keelson/linux/batch.ts";
import type { CgroupUsage, UsageDetail } from "@keelson/linux/cgroup-usage.ts";
import type { InterfaceCounters } from "@keelson/linux/net-dev.ts";
import type { DiskUsage } from "@keelson/linux/tree.ts";
import type { Available, Machine } from "../stats/measured.ts";
import type { FileSystemSize, UsageSource } from "../stats/usage-source.ts";

/** Numbers that a test sets. What it does not set is gone. */
export class FakeUsage implements UsageSource {
  readonly cgroupsByPath = new Map<string, CgroupUsage>();
  readonly interfacesByPin = new Map<string, InterfaceCounters[]>();
  readonly processesByPath = new Map<string, ProcessCounts>();
  readonly limitsByPid = new Map<number, number>();
  readonly disksByDir = new Map<string, DiskUsage>();
  /** What was asked of cgroups: how many, in what detail. */
  readonly reads: { count: number; detail: UsageDetail }[] = [];
  atMs = 1_000_000;

  async cgroups(paths: readonly string[], detail: UsageDetail): Promise<(CgroupUsage | undefined)[]> {
    this.reads.push({ count: paths.length, detail });
    return paths.map((path) => this.cgroupsByPath.get(path));
  }

  async interfaces(pins: readonly string[]): Promise<(InterfaceCounters[] | undefined)[]> {
    return pins.map((pin) => this.interfacesByPin.get(pin));
  }

  async processes(paths: readonly string[]): Promise<(ProcessCounts | undefined)[]> {
    return paths.map((path) => this.processesByPath.get(path));
  }

  async openFileLimits(pids: readonly number[]): Promise<(number | undefined)[]> {
    return pids.map((pid) => this.limitsByPid.get(pid));
  }

  async disk(dir: string): Promise<DiskUsage> {
    const usage = this.disksByDir.get(dir);
    if (usage === undefined) throw new Error(`${dir} is gone`);
    return usage;
  }

  fileSystem(): FileSystemSize {
    return { sizeBytes: 1_000_000n, inodes: 1000n, inodesFree: 900n };
  }

  nowNs(): bigint {
    return BigInt(this.atMs) * 1_000_000n;
  }

  nowMs(): number {
    return this.atMs;
  }
}

export const everything: Available = { pressure: true, hugepages: true, hugepagePeaks: true };

export function fakeMachine(source: UsageSource): Machine {
  return {
    fileSystem: source.fileSystem("/"),
    device: { major: 8, minor: 1 },
    deviceName: (major, minor) => `/dev/${major}-${minor}`,
  };
}
