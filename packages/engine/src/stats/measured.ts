import type { LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ProcessCounts } from "@keelson/linux/batch.ts";
import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import type { InterfaceCounters } from "@keelson/linux/net-dev.ts";
import type { DiskUsage } from "@keelson/linux/tree.ts";
import type { FileSystemSize } from "./usage-source.ts";

/**
 * Labels that say whose a value is, as in the cAdvisor metrics of a kubelet. For a pod as a whole, those of the
 * container are empty.
 */
export const baseLabels = ["id", "name", "image", "container", "pod", "namespace"] as const;

/** The values of these labels for a container or pod. */
export type Subject = Readonly<Record<(typeof baseLabels)[number], string>>;

/** What the metrics of a container, or of a pod as a whole, are computed from. */
export interface Measured {
  subject: Subject;
  /** ns since 1970. */
  atNs: bigint;
  cgroup: CgroupUsage;
  /** For a pod with its own network. */
  interfaces?: readonly InterfaceCounters[];
  /** For a container. */
  container?: {
    startedAtNs: bigint;
    resources: LinuxContainerResources | undefined;
    disk: DiskUsage | undefined;
    processes: ProcessCounts | undefined;
    openFileLimit: number | undefined;
  };
}

/** What is the same for all containers of the machine. */
export interface Machine {
  /** The file system of the writable layers. */
  fileSystem: FileSystemSize;
  /** Its block device. */
  device: { major: number; minor: number };
  /** Such as `/dev/sda`; empty when it has no name. */
  deviceName(major: number, minor: number): string;
}

/** What the kernel of the machine counts. */
export interface Available {
  pressure: boolean;
  hugepages: boolean;
  /** cgroups v1 remember the most that was in use; v2 does not. */
  hugepagePeaks: boolean;
}
