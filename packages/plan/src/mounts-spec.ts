import type { LinuxSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { MountSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { isAtOrBelow } from "./clean-path.ts";
import type { HostFacts } from "./host-facts.ts";
import { parentsFirst } from "./mount-order.ts";
import type { MountPlan, PodOfMounts } from "./mounts.ts";

/** The files that a pod provides for its containers, by their paths on the host. */
export interface PodFilePaths {
  hosts: string;
  hostname: string;
  resolvConf: string;
  /** The pod's tmpfs, or in the host's IPC namespace the host's /dev/shm. */
  shm: string;
  /** The host's /sys, read-only and without what is mounted in it. */
  sysfs: string;
}

/** What the spec must say about a mount's source in a user namespace, because the runtimes would lose it. */
export interface SourceTraits {
  /** Flags of the mount that it is in, which a user namespace may not clear. */
  flags: readonly ("nosuid" | "nodev" | "noexec" | "ro")[];
  /** What is mounted below it, parents first: crun before 1.9 leaves that out. */
  below: readonly { path: string; source: string }[];
}

export interface MountsSpecInput {
  mounts: readonly MountPlan[];
  pod: PodOfMounts;
  podFiles: PodFilePaths;
  /** For each of `mounts`, where its source is on this machine, with symbolic links resolved. */
  mountSources: readonly string[];
  /** By source, for bind mounts in a user namespace. */
  sourceTraits: Readonly<Record<string, SourceTraits>>;
  privileged: boolean;
  readonlyRootfs: boolean;
  ownCgroupNamespace: boolean;
  host: HostFacts;
}

/**
 * The runtime spec's mounts: kernel file systems, then the pod's files and the config's mounts. The config's mounts
 * replace ours: kernel file systems at or below them, but pod files only at exactly the same place (a mount of the
 * host's /etc still gets the pod's resolv.conf).
 */
export function mountsSpec(input: MountsSpecInput): MountSpec[] {
  const asked = input.mounts.map((mount) => mount.destination);
  const kernel = kernelMounts(input).filter(
    (mount) => !asked.some((destination) => isAtOrBelow(mount.destination, destination)),
  );
  const files = podFileMounts(input).filter((mount) => !asked.includes(mount.destination));
  const own = input.mounts.map((mount, i) => bindMount(mount, input.mountSources[i]!));
  return [...kernel, ...parentsFirst([...files, ...own]).flatMap((mount) => withTraits(mount, input.sourceTraits))];
}

/**
 * The propagation of the container's root: mounts are only seen inside or outside when the root lets them through. The
 * recursive forms, without which mount(2) leaves submounts alone, are accepted by the runtimes although the
 * specification has only the plain ones.
 */
export function rootfsPropagation(mounts: readonly MountPlan[]): LinuxSpec["rootfsPropagation"] {
  const has = (propagation: MountPlan["propagation"]): boolean =>
    mounts.some((mount) => mount.propagation === propagation);
  const needed: string | undefined = has("rshared") ? "rshared" : has("rslave") ? "rslave" : undefined;
  return needed as LinuxSpec["rootfsPropagation"];
}

/** cgroup-v2.rst, "Mounting": the options that apply to the whole hierarchy. */
const cgroup2Options = new Set([
  "nsdelegate",
  "favordynmods",
  "memory_localevents",
  "memory_recursiveprot",
  "memory_hugetlb_accounting",
  "pids_localevents",
]);

/** runtime-spec config-linux.md#default-filesystems, and those that Docker adds. */
function kernelMounts(input: MountsSpecInput): MountSpec[] {
  const { pod, privileged, ownCgroupNamespace, host } = input;
  // The group tty, unless the user namespace does not have it.
  const ttyGroup = pod.userNamespace !== undefined && pod.userNamespace.gids[0]!.length <= 5 ? [] : ["gid=5"];
  const readWrite = privileged ? "rw" : "ro";
  // See HostFacts.cgroup2MountOptions.
  const cgroup2 =
    host.cgroupVersion === "v2" && !ownCgroupNamespace
      ? host.cgroup2MountOptions.filter((option) => cgroup2Options.has(option))
      : [];
  return [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", ...ttyGroup],
    },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
    sysfsMount(input, readWrite),
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: ["nosuid", "noexec", "nodev", "relatime", readWrite, ...cgroup2],
    },
  ];
}

/**
 * sysfs shows a network namespace and can only be mounted by that namespace's owner, which a user namespace in the
 * host's network is not.
 */
function sysfsMount({ pod, podFiles }: MountsSpecInput, readWrite: string): MountSpec {
  const options = ["nosuid", "noexec", "nodev"];
  if (pod.userNamespace === undefined || pod.network === "own")
    return { destination: "/sys", type: "sysfs", source: "sysfs", options: [...options, readWrite] };
  return {
    destination: "/sys",
    type: "bind",
    source: podFiles.sysfs,
    options: ["rbind", "rprivate", ...options, "ro"],
  };
}

/** A bind mount with flags does not inherit those of its source, and /dev/shm must keep these. */
const shmFlags = ["nosuid", "noexec", "nodev"];

function podFileMounts({ podFiles, readonlyRootfs }: MountsSpecInput): MountSpec[] {
  const file = (destination: string, source: string): MountSpec => ({
    destination,
    type: "bind",
    source,
    options: ["rbind", "rprivate", readonlyRootfs ? "ro" : "rw"],
  });
  return [
    file("/etc/hostname", podFiles.hostname),
    file("/etc/hosts", podFiles.hosts),
    file("/etc/resolv.conf", podFiles.resolvConf),
    { destination: "/dev/shm", type: "bind", source: podFiles.shm, options: ["rbind", "rprivate", "rw", ...shmFlags] },
  ];
}

function withTraits(mount: MountSpec, traits: MountsSpecInput["sourceTraits"]): MountSpec[] {
  const source = mount.source ?? "";
  if (!Object.hasOwn(traits, source)) return [mount];
  const { flags, below } = traits[source]!;
  const options = mount.options ?? [];
  // Of two opposite options the last one counts, so these override: "ro" over "rw".
  const own = { ...mount, options: [...options, ...flags.filter((flag) => !options.includes(flag))] };
  return [
    own,
    ...below.flatMap((inner) =>
      withTraits({ ...mount, source: inner.source, destination: `${mount.destination}/${inner.path}` }, traits),
    ),
  ];
}

function bindMount(mount: MountPlan, source: string): MountSpec {
  // For a recursively read-only mount, everything below its source has been made read-only already, so that this works
  // with every runtime.
  const access = mount.readonly ? "ro" : "rw";
  return { destination: mount.destination, type: "bind", source, options: ["rbind", mount.propagation, access] };
}
