/** What planning needs to know of the machine. Collected once at start by the effects side; plain JSON. */
export interface HostFacts {
  /** As Node's `process.arch` has it: x64, arm64, … */
  arch: string;
  /** Kernel release, such as `6.1.0-18-amd64`. */
  kernelVersion: string;
  /** Of the machine, for pods that bring none. */
  hostname: string;
  /** `hybrid`: the controllers are on v1 and a v2 hierarchy is mounted beside them. */
  cgroupVersion: "v1" | "hybrid" | "v2";
  cgroupDriver: "cgroupfs" | "systemd";
  /** Controllers that containers can be limited with, such as `memory` and `hugetlb`. */
  controllers: readonly string[];
  /**
   * Mount options of the host's cgroup2 that belong to its superblock: `nsdelegate`,
   * `memory_recursiveprot`. A container that mounts it without a cgroup namespace must repeat them,
   * or they are lost for the whole machine.
   */
  cgroup2MountOptions: readonly string[];
  /** memory.memsw.* (v1) or memory.swap.max (v2) exists. */
  hasSwapAccounting: boolean;
  /** As the CRI writes them: 2MB, 1GB. */
  hugepageSizes: readonly string[];
  /** The daemon's bounding set, with the prefix `CAP_`. */
  capabilities: readonly string[];
  /** The lowest oom_score_adj that can be given: -1000 with CAP_SYS_RESOURCE, else the daemon's own. */
  oomScoreAdjMin: number;
  seccompEnabled: boolean;
  appArmorEnabled: boolean;
  /** The profile loaded for RuntimeDefault; empty when none is. */
  appArmorDefaultProfile: string;
  seLinuxEnabled: boolean;
  /** Of containers' processes and files by the machine's policy, as `user:role:type:level`; not looked at without SELinux. */
  seLinuxProcessLabel: string;
  seLinuxFileLabel: string;
  /** The kernel's resctrl file system (Intel RDT, AMD QoS) is at /sys/fs/resctrl. */
  resctrlMounted: boolean;
  /** Mounts can be made read-only with all below them: mount_setattr(2), Linux 5.12. */
  recursiveReadOnlyMounts: boolean;
  /** Why root file systems cannot be shown with the ids of a user namespace, with what would help; empty where they can. */
  idMapProblem: string;
}

/** What the runtime handler of the pod can do. */
export interface HandlerFacts {
  name: string;
  recursiveReadOnlyMounts: boolean;
  /** Containers can be put into a user namespace. */
  userNamespaces: boolean;
  /** `container`: its pods are containers themselves, in which the others are, as with gVisor's kernel and Kata's machine. */
  sandbox: "none" | "container";
  /** What it mounts read-only is so with all below it, asked for or not, as with gVisor. */
  readOnlyIsRecursive?: true;
}
