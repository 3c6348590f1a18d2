import { MountPropagation, type ImageSpec, type Mount } from "@keelson/cri/gen/runtime/v1/api.ts";
import { checkHostPath, containerPath, isAtOrBelow } from "./clean-path.ts";
import { checkSingleLine, invalidField, quote, unsupportedHere } from "./field-check.ts";
import type { HandlerFacts, HostFacts } from "./host-facts.ts";
import { parentsFirst } from "./mount-order.ts";
import type { PodPlan } from "./pod-plan.ts";
import { type IdMappings, planMountMappings } from "./user-namespace.ts";

/** What a mount shows. */
export type MountSource =
  /**
   * A directory or file of the host, as in the config. Whether it exists and where its links lead is found out later.
   */
  | { is: "host"; path: string }
  /** The file system of an image, by its name in the config, or what is at `subPath` in it; "" is all of it. */
  | { is: "image"; image: string; subPath: string }
  /** A directory of the container, filled at first with what its image has there (image-spec config.md: Volumes). */
  | { is: "volume" };

/** A mount that a container's config or image asks for. Plain JSON. */
export interface MountPlan {
  /** A clean absolute path inside the container. */
  destination: string;
  source: MountSource;
  readonly: boolean;
  recursiveReadOnly: boolean;
  /** `rshared` needs a shared source, `rslave` a shared or slave one; that is checked once the source is known. */
  propagation: "rprivate" | "rslave" | "rshared";
  /**
   * SELinux: the host path and everything below it get the container's label. Only set where the kernel has SELinux.
   */
  relabel?: true;
  /** Maps the owners of its files: a user namespace with the same mappings sees them as they are on disk. */
  idMappings?: IdMappings;
}

/** What mounts depend on in the pod. */
export type PodOfMounts = Pick<PodPlan, "userNamespace" | "network">;

/** What is planned for mounts depends on this too. */
interface MountContext {
  pod: PodOfMounts;
  handler: HandlerFacts;
  host: HostFacts;
}

/**
 * CRI: ContainerConfig.mounts and the image's volumes, parents first, otherwise in the order sent. Of several at the
 * same place the last one counts, as in containerd and CRI-O. Throws InvalidArgument for bad paths and combinations,
 * FailedPrecondition for recursive_read_only where it is not supported.
 */
export function planMounts(
  mounts: readonly Mount[],
  imageVolumes: readonly string[],
  context: MountContext,
): MountPlan[] {
  const planned = mounts.map((mount, i) => planMount(`mounts[${i}]`, mount, context));
  const last = new Map(planned.map((mount) => [mount.destination, mount]));
  const asked = planned.filter((mount) => last.get(mount.destination) === mount);
  return parentsFirst([...asked, ...planImageVolumes(imageVolumes, asked)]);
}

function planMount(field: string, mount: Mount, { pod, handler, host }: MountContext): MountPlan {
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

/**
 * mount_namespaces(7): what is mounted in a user namespace never leaves it, and an idmapped mount is not in the peer
 * group of its source.
 */
function checkBidirectional(field: string, pod: PodOfMounts, idMappings: IdMappings | undefined): void {
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

/** CRI: Mount.image is used in place of host_path. */
function sourceOf(field: string, mount: Mount): MountSource {
  if (mount.image !== undefined && isNamed(mount.image)) return imageSource(field, mount, mount.image);
  if (mount.imageSubPath !== "")
    throw invalidField(`${field}.image_sub_path`, "is only for an image as a volume; set image too");
  checkHostPath(`${field}.host_path`, mount.hostPath);
  return { is: "host", path: mount.hostPath };
}

/** Whether the message names an image: some clients send an empty message for none. */
function isNamed({ image, userSpecifiedImage, imageRef }: ImageSpec): boolean {
  return image + userSpecifiedImage + imageRef !== "";
}

/** KEP-4639: an image is mounted read-only, and mounts in it cannot propagate to the host. */
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

/** Where the kernel's file systems are mounted. An image made for other runtimes may declare a volume there. */
const kernelDirectories = ["/proc", "/sys", "/dev"];

/** For each volume a directory is made and filled in each container; images in use have one or two. */
const maxImageVolumes = 100;

/**
 * A volume at or below one of the config's mounts is not made: when a pod mounts a disk at `/data`, what is written to
 * `/data/db` is meant to be kept on that disk.
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
