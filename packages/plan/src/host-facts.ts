import { Code, StatusError } from "@keelson/base/status.ts";

/** What planning needs to know about the machine. The caller collects it once, at the start; plain JSON. */
export interface HostFacts {
  /** Node's `process.arch`: x64, arm64, … */
  arch: string;
  /** Kernel release, such as `6.1.0-18-amd64`. */
  kernelVersion: string;
  /** The machine's, for pods that have none of their own. */
  hostname: string;
  /** `hybrid`: the controllers are on v1, and a v2 hierarchy is mounted beside them. */
  cgroupVersion: "v1" | "hybrid" | "v2";
  cgroupDriver: "cgroupfs" | "systemd";
  /** Controllers that can limit containers, such as `memory` and `hugetlb`. */
  controllers: readonly string[];
  /**
   * Mount options of the host's cgroup2 that belong to its superblock: `nsdelegate`, `memory_recursiveprot`. A
   * container that mounts it without a cgroup namespace must repeat them, or the whole machine loses them.
   */
  cgroup2MountOptions: readonly string[];
  /** memory.memsw.* (v1) or memory.swap.max (v2) exists. */
  hasSwapAccounting: boolean;
  /** As the CRI writes them: 2MB, 1GB. */
  hugepageSizes: readonly string[];
  /** The daemon's bounding set, with the prefix `CAP_`. */
  capabilities: readonly string[];
  /** The lowest oom_score_adj that the daemon can give: -1000 with CAP_SYS_RESOURCE, else its own. */
  oomScoreAdjMin: number;
  /**
   * The daemon's soft RLIMIT_STACK, which containers without one of their own inherit; undefined when it is unlimited.
   */
  stackLimitBytes?: number;
  seccompEnabled: boolean;
  appArmorEnabled: boolean;
  /** The profile that is loaded for RuntimeDefault; empty when there is none. */
  appArmorDefaultProfile: string;
  seLinuxEnabled: boolean;
  /**
   * The labels of containers' processes and files in the machine's policy, `user:role:type:level`; unused without
   * SELinux.
   */
  seLinuxProcessLabel: string;
  seLinuxFileLabel: string;
  /** The kernel's resctrl file system (Intel RDT, AMD QoS) is mounted at /sys/fs/resctrl. */
  resctrlMounted: boolean;
  /** Mounts can be made read-only together with everything below them: mount_setattr(2), Linux 5.12. */
  recursiveReadOnlyMounts: boolean;
  /**
   * Why root file systems cannot be mapped to the ids of a user namespace, and what would help; empty where they can.
   */
  idMapProblem: string;
}

/** What the runtime handler of the pod can do. */
export interface HandlerFacts {
  name: string;
  recursiveReadOnlyMounts: boolean;
  /** Containers can be put into a user namespace. */
  userNamespaces: boolean;
  /** `container`: each pod is itself a container that holds the others, as with gVisor's kernel and Kata's machine. */
  sandbox: "none" | "container";
  /** What of the node its pods cannot have, because they are in a guest. */
  lacks?: { readonly hostNetwork?: true; readonly hostPid?: true; readonly hostDevices?: true };
  /** Its read-only mounts are always recursive, asked for or not, as in gVisor. */
  readOnlyIsRecursive?: true;
}

/** The error for a field that asks for something of the node that a handler's pods cannot have. */
export function lacking({ name }: HandlerFacts, field: string, what: string, feature: string): StatusError {
  return new StatusError(
    Code.FailedPrecondition,
    `${field}: runtime handler ${name} has no ${what}: its pods are in guests; use another RuntimeClass, or set features.${feature} in [runtimes.${name}] if it has them`,
  );
}
