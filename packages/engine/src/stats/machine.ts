import { existsSync, readlinkSync, statSync } from "node:fs";
import { basename } from "node:path";
import type { CgroupLayout } from "@keelson/linux/cgroup.ts";
import { splitDevice } from "@keelson/linux/device-numbers.ts";
import type { Available, Machine } from "./measured.ts";
import type { UsageSource } from "./usage-source.ts";

/**
 * What metrics say about the machine. Reads the file system of the writable layers each time, the names of devices
 * once.
 *
 * @param dir the directory of the writable layers.
 */
export function machineOf(source: UsageSource, dir: string): Machine {
  const names = new Map<string, string>();
  const device = splitDevice(statSync(dir).dev);
  return {
    get fileSystem() {
      return source.fileSystem(dir);
    },
    device,
    deviceName(major, minor) {
      const key = `${major}:${minor}`;
      const name = names.get(key) ?? nameOf(key);
      names.set(key, name);
      return name;
    },
  };
}

/** What this machine's kernel counts for containers. */
export function availableOn(layout: CgroupLayout): Available {
  const v1Hugetlb = layout.hierarchies.some(
    ({ version, controllers }) => version === 1 && controllers.includes("hugetlb"),
  );
  const hugepages = v1Hugetlb || layout.hierarchies.some(({ controllers }) => controllers.includes("hugetlb"));
  // With v1 hierarchies mounted, a runtime need not put containers into the v2 one as well.
  return { pressure: layout.kind === "v2" && existsSync("/proc/pressure/cpu"), hugepages, hugepagePeaks: v1Hugetlb };
}

function nameOf(key: string): string {
  try {
    return `/dev/${basename(readlinkSync(`/sys/dev/block/${key}`))}`;
  } catch {
    // The file system has no block device.
    return "";
  }
}
