import { MountPropagation, type Mount } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { LinuxSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { MountSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { checkHostPath, containerPath, isAtOrBelow, pathDepth } from "./clean-path.ts";
import { invalidField, quote, unimplementedField, unsupportedHere } from "./field-check.ts";
import type { HandlerFacts, HostFacts } from "./host-facts.ts";

/** A directory or file of the host in a container. Plain JSON. */
export interface MountPlan {
  /** Clean and absolute, inside the container. */
  destination: string;
  /** On the host, as the config has it: the effects side follows its links and checks that it exists. */
  hostPath: string;
  readonly: boolean;
  recursiveReadOnly: boolean;
  /** The effects side checks: `rshared` needs a shared source, `rslave` a shared or slave one. */
  propagation: "rprivate" | "rslave" | "rshared";
}

/**
 * CRI: ContainerConfig.mounts, parents before what is in them, else in the order sent. Throws
 * InvalidArgument for bad paths and combinations, FailedPrecondition for recursive_read_only where
 * the runtime handler has no such option, Unimplemented for relabelling under SELinux.
 */
export function planMounts(mounts: readonly Mount[], handler: HandlerFacts, host: HostFacts): MountPlan[] {
  return sorted(mounts.map((mount, i) => planMount(`mounts[${i}]`, mount, handler, host)));
}

function planMount(field: string, mount: Mount, handler: HandlerFacts, host: HostFacts): MountPlan {
  const destination = containerPath(`${field}.container_path`, mount.containerPath);
  if (destination === "/") throw invalidField(`${field}.container_path`, `${quote(mount.containerPath)} is the container's root; mount over a directory in it`);
  checkHostPath(`${field}.host_path`, mount.hostPath);
  if (mount.selinuxRelabel && host.seLinuxEnabled) throw unimplementedField(`${field}.selinux_relabel`, "is not there yet, and SELinux is on on this machine");
  checkRecursiveReadOnly(field, mount, handler);
  return { destination, hostPath: mount.hostPath, readonly: mount.readonly, recursiveReadOnly: mount.recursiveReadOnly, propagation: propagationOf(field, mount.propagation) };
}

/** CRI: Mount.recursive_read_only needs readonly and PROPAGATION_PRIVATE. */
function checkRecursiveReadOnly(field: string, mount: Mount, handler: HandlerFacts): void {
  if (!mount.recursiveReadOnly) return;
  if (!mount.readonly) throw invalidField(`${field}.recursive_read_only`, "needs readonly too");
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE) throw invalidField(`${field}.recursive_read_only`, "needs PROPAGATION_PRIVATE");
  if (!handler.recursiveReadOnlyMounts) throw unsupportedHere(`${field}.recursive_read_only`, `is not supported by the runtime handler ${quote(handler.name)}; it needs a newer OCI runtime and Linux 5.12`);
}

function propagationOf(field: string, propagation: MountPropagation): MountPlan["propagation"] {
  switch (propagation) {
    case MountPropagation.PROPAGATION_PRIVATE:
      return "rprivate";
    case MountPropagation.PROPAGATION_HOST_TO_CONTAINER:
      return "rslave";
    case MountPropagation.PROPAGATION_BIDIRECTIONAL:
      return "rshared";
    default:
      throw invalidField(`${field}.propagation`, `${String(propagation)} is not a propagation of the CRI`);
  }
}

/** Fewer directories first: a parent always has fewer than what is in it. Stable. */
function sorted(mounts: MountPlan[]): MountPlan[] {
  return mounts.toSorted((a, b) => pathDepth(a.destination) - pathDepth(b.destination));
}

/** The files that a pod brings for its containers, by their paths on the host. */
export interface PodFilePaths {
  hosts: string;
  hostname: string;
  resolvConf: string;
  /** The pod's tmpfs, or the host's /dev/shm with its IPC namespace. */
  shm: string;
}

export interface MountsSpecInput {
  mounts: readonly MountPlan[];
  podFiles: PodFilePaths;
  /** Host paths with their links followed, where that makes a difference. */
  resolvedHostPaths: Readonly<Record<string, string>>;
  privileged: boolean;
  readonlyRootfs: boolean;
  ownCgroupNamespace: boolean;
  host: HostFacts;
}

/**
 * The runtime spec's mounts: kernel file systems, then the pod's files and the config's mounts. What
 * the config mounts takes the place of ours: of a kernel file system at or below it, of a pod's file
 * exactly there (a host's /etc still gets the pod's resolv.conf).
 */
export function mountsSpec(input: MountsSpecInput): MountSpec[] {
  const asked = input.mounts.map((mount) => mount.destination);
  const kernel = kernelMounts(input).filter((mount) => !asked.some((destination) => isAtOrBelow(mount.destination, destination)));
  const files = podFileMounts(input).filter((mount) => !asked.includes(mount.destination));
  return [...kernel, ...sorted([...files, ...input.mounts]).map((mount) => bindMount(mount, input))];
}

/**
 * The propagation of the container's root: mounts can only be seen in or out when the root lets
 * them through. mount(2) leaves submounts alone without the recursive forms, which the runtimes take
 * though the specification has only the plain words.
 */
export function rootfsPropagation(mounts: readonly MountPlan[]): LinuxSpec["rootfsPropagation"] {
  const has = (propagation: MountPlan["propagation"]): boolean => mounts.some((mount) => mount.propagation === propagation);
  const needed: string | undefined = has("rshared") ? "rshared" : has("rslave") ? "rslave" : undefined;
  return needed as LinuxSpec["rootfsPropagation"];
}

/** cgroup-v2.rst, "Mounting": those that belong to the whole hierarchy. */
const cgroup2Options = new Set(["nsdelegate", "favordynmods", "memory_localevents", "memory_recursiveprot", "memory_hugetlb_accounting", "pids_localevents"]);

/** runtime-spec config-linux.md#default-filesystems, and what Docker adds. */
function kernelMounts({ privileged, ownCgroupNamespace, host }: MountsSpecInput): MountSpec[] {
  const readWrite = privileged ? "rw" : "ro";
  // See HostFacts.cgroup2MountOptions.
  const cgroup2 = host.cgroupVersion === "v2" && !ownCgroupNamespace ? host.cgroup2MountOptions.filter((option) => cgroup2Options.has(option)) : [];
  return [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
    { destination: "/dev/pts", type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", readWrite] },
    { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["nosuid", "noexec", "nodev", "relatime", readWrite, ...cgroup2] },
  ];
}

function podFileMounts({ podFiles, readonlyRootfs }: MountsSpecInput): MountPlan[] {
  const file = (destination: string, hostPath: string, readonly: boolean): MountPlan => ({ destination, hostPath, readonly, recursiveReadOnly: false, propagation: "rprivate" });
  return [
    file("/etc/hostname", podFiles.hostname, readonlyRootfs),
    file("/etc/hosts", podFiles.hosts, readonlyRootfs),
    file("/etc/resolv.conf", podFiles.resolvConf, readonlyRootfs),
    file("/dev/shm", podFiles.shm, false),
  ];
}

/** A bind mount that names its flags loses those of its source: /dev/shm must keep them. */
const shmFlags = ["nosuid", "noexec", "nodev"];

function bindMount(mount: MountPlan, { resolvedHostPaths, podFiles }: MountsSpecInput): MountSpec {
  const access = mount.recursiveReadOnly ? "rro" : mount.readonly ? "ro" : "rw";
  const source = Object.hasOwn(resolvedHostPaths, mount.hostPath) ? resolvedHostPaths[mount.hostPath]! : mount.hostPath;
  const flags = mount.hostPath === podFiles.shm ? shmFlags : [];
  return { destination: mount.destination, type: "bind", source, options: ["rbind", mount.propagation, access, ...flags] };
}
