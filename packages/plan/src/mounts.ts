import { MountPropagation, type ImageSpec, type Mount } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { LinuxSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { MountSpec } from "@keelson/oci/runtime-spec/spec.ts";
import { checkHostPath, containerPath, isAtOrBelow, pathDepth } from "./clean-path.ts";
import { checkSingleLine, invalidField, quote, unsupportedHere } from "./field-check.ts";
import type { HandlerFacts, HostFacts } from "./host-facts.ts";
import type { PodPlan } from "./pod-plan.ts";
import { type IdMappings, planMountMappings } from "./user-namespace.ts";

/** What a mount shows. */
export type MountSource =
  /** A directory or file of the host, as the config has it: the effects side follows its links and checks that it exists. */
  | { is: "host"; path: string }
  /** The file system of an image, by the name that the config has for it, or what is at `subPath` in it; "" is all of it. */
  | { is: "image"; image: string; subPath: string }
  /** A directory of the container's own that begins with what its image has there (image-spec config.md: Volumes). */
  | { is: "volume" };

/** A mount of a container that its config or its image asks for. Plain JSON. */
export interface MountPlan {
  /** Clean and absolute, inside the container. */
  destination: string;
  source: MountSource;
  readonly: boolean;
  recursiveReadOnly: boolean;
  /** The effects side checks: `rshared` needs a shared source, `rslave` a shared or slave one. */
  propagation: "rprivate" | "rslave" | "rshared";
  /** SELinux: the host path and all below it get the container's label. Only where the kernel has it. */
  relabel?: true;
  /** How the ids of its files look from outside: to a user namespace with the same mappings, as they are on disk. */
  idMappings?: IdMappings;
}

/** What mounts depend on of the pod. */
type PlannedPod = Pick<PodPlan, "userNamespace" | "network">;

/**
 * CRI: ContainerConfig.mounts and the image's volumes, parents before what is in them, else in the
 * order sent. Of several at the same place the last one counts, as with containerd and CRI-O. Throws
 * InvalidArgument for bad paths and combinations, FailedPrecondition for recursive_read_only where
 * the machine cannot.
 */
export function planMounts(
  mounts: readonly Mount[],
  imageVolumes: readonly string[],
  pod: PlannedPod,
  handler: HandlerFacts,
  host: HostFacts,
): MountPlan[] {
  const planned = mounts.map((mount, i) => planMount(`mounts[${i}]`, mount, pod, handler, host));
  const last = new Map(planned.map((mount) => [mount.destination, mount]));
  const asked = planned.filter((mount) => last.get(mount.destination) === mount);
  return sorted([...asked, ...planImageVolumes(imageVolumes, asked)]);
}

function planMount(field: string, mount: Mount, pod: PlannedPod, handler: HandlerFacts, host: HostFacts): MountPlan {
  const destination = containerPath(`${field}.container_path`, mount.containerPath);
  if (destination === "/")
    throw invalidField(
      `${field}.container_path`,
      `${quote(mount.containerPath)} is the container's root; mount over a directory in it`,
    );
  const source = sourceOf(field, mount);
  checkRecursiveReadOnly(field, mount, handler);
  const propagation = propagationOf(field, mount.propagation);
  const idMappings =
    planMountMappings(field, mount.uidMappings, mount.gidMappings) ??
    (source.is === "image" ? pod.userNamespace : undefined);
  if (propagation === "rshared") checkBidirectional(field, pod, idMappings);
  const relabel = mount.selinuxRelabel && host.seLinuxEnabled && source.is === "host";
  return {
    destination,
    source,
    readonly: mount.readonly,
    recursiveReadOnly: mount.recursiveReadOnly && handler.readOnlyIsRecursive !== true,
    propagation,
    ...(relabel ? { relabel } : {}),
    ...(idMappings === undefined ? {} : { idMappings }),
  };
}

/** mount_namespaces(7): what is mounted in a user namespace never leaves it, and a mapped mount is no peer of its source. */
function checkBidirectional(field: string, pod: PlannedPod, idMappings: IdMappings | undefined): void {
  if (pod.userNamespace !== undefined)
    throw invalidField(
      `${field}.propagation`,
      "must not be PROPAGATION_BIDIRECTIONAL in a pod with a user namespace: what is mounted in it cannot be seen outside",
    );
  if (idMappings !== undefined)
    throw invalidField(
      `${field}.propagation`,
      "must not be PROPAGATION_BIDIRECTIONAL when uidMappings and gidMappings are set",
    );
}

/** CRI: Mount.image takes the place of host_path. */
function sourceOf(field: string, mount: Mount): MountSource {
  if (mount.image !== undefined && isNamed(mount.image)) return imageSource(field, mount, mount.image);
  if (mount.imageSubPath !== "")
    throw invalidField(`${field}.image_sub_path`, "is only for an image as a volume; set image too");
  checkHostPath(`${field}.host_path`, mount.hostPath);
  return { is: "host", path: mount.hostPath };
}

/** Whether anything is said of an image: some clients send an empty message for none. */
function isNamed({ image, userSpecifiedImage, imageRef }: ImageSpec): boolean {
  return image + userSpecifiedImage + imageRef !== "";
}

/** KEP-4639: an image is mounted read-only. Nothing can be mounted in it for others to see. */
function imageSource(field: string, mount: Mount, { image }: ImageSpec): MountSource {
  if (image === "") throw invalidField(`${field}.image.image`, "is missing: it names the image to mount");
  checkSingleLine(`${field}.image.image`, image, 4096);
  if (mount.hostPath !== "")
    throw invalidField(`${field}.host_path`, "must be empty when image is set: a mount has one source");
  if (!mount.readonly)
    throw invalidField(`${field}.readonly`, "must be true when image is set: images are only mounted read-only");
  if (mount.propagation === MountPropagation.PROPAGATION_BIDIRECTIONAL)
    throw invalidField(`${field}.propagation`, "must not be PROPAGATION_BIDIRECTIONAL when image is set");
  const subPath = mount.imageSubPath === "" ? "/" : containerPath(`${field}.image_sub_path`, mount.imageSubPath);
  if (mount.imageSubPath.split("/").includes(".."))
    throw invalidField(`${field}.image_sub_path`, `${quote(mount.imageSubPath)} must not have .. in it`);
  return { is: "image", image, subPath: subPath.slice(1) };
}

/** What the kernel's file systems are mounted on. An image that was made for other runtimes may declare a volume there. */
const kernelDirectories = ["/proc", "/sys", "/dev"];

/** Each is a directory to make and fill for each container; images in use have one or two. */
const maxImageVolumes = 100;

/**
 * A volume that the config's mounts cover stays what they show: also below one of them, as what is
 * written to `/data/db` is meant to last when the pod mounts a disk at `/data`.
 */
function planImageVolumes(paths: readonly string[], asked: readonly MountPlan[]): MountPlan[] {
  if (paths.length > maxImageVolumes)
    throw invalidField("image", `declares ${paths.length} volumes; at most ${maxImageVolumes} are allowed`);
  const destinations = new Set(paths.map((path) => containerPath("image volume", path)));
  if (destinations.has("/")) throw invalidField("image", "declares a volume at /, which is the container's root");
  const covers = [...kernelDirectories, ...asked.map((mount) => mount.destination)];
  const own = [...destinations].filter((destination) => !covers.some((cover) => isAtOrBelow(destination, cover)));
  return own.map((destination) => ({
    destination,
    source: { is: "volume" },
    readonly: false,
    recursiveReadOnly: false,
    propagation: "rprivate",
  }));
}

/** CRI: Mount.recursive_read_only needs readonly and PROPAGATION_PRIVATE. */
function checkRecursiveReadOnly(field: string, mount: Mount, handler: HandlerFacts): void {
  if (!mount.recursiveReadOnly) return;
  if (!mount.readonly) throw invalidField(`${field}.recursive_read_only`, "needs readonly too");
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE)
    throw invalidField(`${field}.recursive_read_only`, "needs PROPAGATION_PRIVATE");
  if (!handler.recursiveReadOnlyMounts)
    throw unsupportedHere(
      `${field}.recursive_read_only`,
      `is not supported by the runtime handler ${quote(handler.name)} on this machine; it needs Linux 5.12`,
    );
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
function sorted<M extends { destination: string }>(mounts: M[]): M[] {
  return mounts.toSorted((a, b) => pathDepth(a.destination) - pathDepth(b.destination));
}

/** The files that a pod brings for its containers, by their paths on the host. */
export interface PodFilePaths {
  hosts: string;
  hostname: string;
  resolvConf: string;
  /** The pod's tmpfs, or the host's /dev/shm with its IPC namespace. */
  shm: string;
  /** The host's /sys, read-only and without what is mounted in it. */
  sysfs: string;
}

/** What the runtimes must be told of a source, because they lose it in a user namespace. */
export interface SourceTraits {
  /** Of the mount that it is in; what a user namespace may not take off. */
  flags: readonly ("nosuid" | "nodev" | "noexec" | "ro")[];
  /** What is mounted below it, parents first: crun before 1.9 leaves it out. */
  below: readonly { path: string; source: string }[];
}

export interface MountsSpecInput {
  mounts: readonly MountPlan[];
  pod: PlannedPod;
  podFiles: PodFilePaths;
  /** Of each of `mounts`, where its source is on this machine, free of links. */
  mountSources: readonly string[];
  /** By source, of bind mounts in a user namespace. */
  sourceTraits: Readonly<Record<string, SourceTraits>>;
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
  const kernel = kernelMounts(input).filter(
    (mount) => !asked.some((destination) => isAtOrBelow(mount.destination, destination)),
  );
  const files = podFileMounts(input).filter((mount) => !asked.includes(mount.destination));
  const own = input.mounts.map((mount, i) => bindMount(mount, input.mountSources[i]!));
  return [...kernel, ...sorted([...files, ...own]).flatMap((mount) => withTraits(mount, input.sourceTraits))];
}

/**
 * The propagation of the container's root: mounts can only be seen in or out when the root lets
 * them through. mount(2) leaves submounts alone without the recursive forms, which the runtimes take
 * though the specification has only the plain words.
 */
export function rootfsPropagation(mounts: readonly MountPlan[]): LinuxSpec["rootfsPropagation"] {
  const has = (propagation: MountPlan["propagation"]): boolean =>
    mounts.some((mount) => mount.propagation === propagation);
  const needed: string | undefined = has("rshared") ? "rshared" : has("rslave") ? "rslave" : undefined;
  return needed as LinuxSpec["rootfsPropagation"];
}

/** cgroup-v2.rst, "Mounting": those that belong to the whole hierarchy. */
const cgroup2Options = new Set([
  "nsdelegate",
  "favordynmods",
  "memory_localevents",
  "memory_recursiveprot",
  "memory_hugetlb_accounting",
  "pids_localevents",
]);

/** runtime-spec config-linux.md#default-filesystems, and what Docker adds. */
function kernelMounts(input: MountsSpecInput): MountSpec[] {
  const { pod, privileged, ownCgroupNamespace, host } = input;
  // The group tty, where the user namespace has it.
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

/** sysfs shows a network namespace and is mounted by those who own it: not from a user namespace in the host's network. */
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

/** A bind mount that names its flags loses those of its source: /dev/shm must keep them. */
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
  // Of two that say the opposite the last counts: "ro" over "rw".
  const own = { ...mount, options: [...options, ...flags.filter((flag) => !options.includes(flag))] };
  return [
    own,
    ...below.flatMap((inner) =>
      withTraits({ ...mount, source: inner.source, destination: `${mount.destination}/${inner.path}` }, traits),
    ),
  ];
}

function bindMount(mount: MountPlan, source: string): MountSpec {
  // What is below a recursively read-only mount is so already in its source, so that every runtime can do it.
  const access = mount.readonly ? "ro" : "rw";
  return { destination: mount.destination, type: "bind", source, options: ["rbind", mount.propagation, access] };
}
