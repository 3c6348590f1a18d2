import { statSync, type Stats } from "node:fs";
import { join } from "node:path";
import { Code, messageOf, StatusError, wrapError } from "@keelson/base/status.ts";
import type { SystemError } from "@keelson/linux/errno.ts";
import { type MountInfo, readMounts } from "@keelson/linux/mount.ts";
import type { ResolvedPath } from "@keelson/linux/resolve-paths.ts";
import { cleanPath, isAtOrBelow } from "@keelson/plan/clean-path.ts";
import type { ContainerPlan } from "@keelson/plan/container-plan.ts";
import { quote } from "@keelson/plan/field-check.ts";
import type { MountPlan } from "@keelson/plan/mounts.ts";
import { hostRootOf, type IdMappings } from "@keelson/plan/user-namespace.ts";
import type { Images, Machine } from "../capabilities.ts";
import { type IdMap, idMapOf } from "../machine/id-map.ts";
import { resolveInRoot } from "../machine/root-file.ts";
import type { MountedImage } from "../records/container-record.ts";
import { isBehindDanglingLink, makeTargetBehindLinks } from "./mount-target.ts";

/** What the configuration says about mounts. */
export interface MountPolicy {
  /** Make a directory in place of a missing host path, as kubelets expect for a hostPath without a type. */
  readonly createMissingSources: boolean;
  /** Clean paths at which, and below which, none is made, such as where a disk may not be mounted yet. */
  readonly missingSourcesToRefuse: readonly string[];
  readonly imageVolumes: "bind" | "ignore";
}

/** The images that a plan mounts, under the plan's names for them. Throws NotFound for one that is not on this node. */
export function findMountedImages({ images }: Images, mounts: readonly MountPlan[]): MountedImage[] {
  const names = new Set(mounts.flatMap(({ source }) => (source.is === "image" ? source.image : [])));
  return [...names].map((name) => {
    const image = images.find(name);
    if (image === undefined)
      throw new StatusError(
        Code.NotFound,
        `image ${name}, which is to be mounted, is not on this node; pull it first (\`keelctl pull ${name}\`)`,
      );
    return { name, imageId: image.id, layers: image.layers };
  });
}

/**
 * Where the host paths of a plan's mounts lead. Makes missing ones if the configuration says so. Takes no lock, and
 * must be called without one: a path whose file system does not answer would keep the pod from being stopped.
 */
export async function findHostPaths(
  d: Pick<Machine, "containerHost"> & { readonly mountPolicy: MountPolicy },
  mounts: readonly MountPlan[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ResolvedPath>> {
  const paths = [...new Set(mounts.flatMap(({ source }) => (source.is === "host" ? source.path : [])))];
  const isMade = (path: string) => whyNotMade(d.mountPolicy, path) === undefined;
  const find = async (some: readonly string[], makeMissing: boolean) => {
    const found = some.length === 0 ? [] : await d.containerHost.resolveHostPaths(some, makeMissing, signal);
    return some.map((path, i) => [path, found[i]!] as const);
  };
  const { made = [], left = [] } = Object.groupBy(paths, (path) => (isMade(path) ? "made" : "left"));
  return new Map((await Promise.all([find(made, true), find(left, false)])).flat());
}

/** Which setting keeps a directory from being made at a path; undefined when none does. */
function whyNotMade(policy: MountPolicy, path: string): string | undefined {
  if (!policy.createMissingSources) return "create_missing_mount_sources = false";
  const around = policy.missingSourcesToRefuse.find((parent) => isAtOrBelow(cleanPath(path), parent));
  return around === undefined ? undefined : `${around} in missing_mount_sources_to_refuse`;
}

/** A container whose root file system is mounted and that the runtime does not know yet. */
interface NewContainer {
  readonly plan: ContainerPlan;
  readonly mountedImages: readonly MountedImage[];
  /** What findHostPaths found. */
  readonly hostPaths: ReadonlyMap<string, ResolvedPath>;
  readonly rootfs: string;
  /** Of the pod's user namespace. */
  readonly idMap: IdMap | undefined;
}

/**
 * Prepares the source of each of a plan's mounts: checks how host paths are shared, mounts images, fills volumes.
 * Resolves to their paths, in the plan's order. What it mounts and makes is in the container's own directories, which
 * its teardown removes.
 *
 * Throws InvalidArgument for a host path that does not exist, NotFound for a path that an image does not have,
 * FailedPrecondition for a source that is not shared as its propagation needs.
 */
export async function prepareMountSources(
  d: Pick<Machine, "containerHost"> & Images & { readonly mountPolicy: MountPolicy },
  c: NewContainer,
  signal: AbortSignal,
): Promise<string[]> {
  const { mounts } = c.plan;
  const images = new ImageMounter(d, c);
  // Read once: of a thousand mounts, each may need to know how its source is shared.
  const hostMounts = mounts.some((mount) => mount.source.is === "host" && mount.propagation !== "rprivate")
    ? readMounts()
    : [];
  const sources: string[] = [];
  const volumes = new VolumeMaker(d, c);
  for (const mount of mounts) {
    const { source } = mount;
    switch (source.is) {
      case "host": {
        const found = c.hostPaths.get(source.path)!;
        if ("error" in found) throw unusable(d.mountPolicy, source.path, mount, found.error);
        const { path, isDirectory } = found;
        checkPropagation(path, mount.propagation, hostMounts);
        sources.push(path);
        makeTarget(c, mount.destination, isDirectory);
        break;
      }
      case "image":
        sources.push(imageSource(await images.mount(source.image, mount.idMappings), source));
        makeTarget(c, mount.destination, statSync(sources.at(-1)!).isDirectory());
        break;
      case "volume":
        sources.push(await volumes.make(mount.destination, signal));
        makeTarget(c, mount.destination, true);
        break;
    }
  }
  return sources;
}

/** Makes the place of a mount if the image's links to it lead nowhere, so that every runtime can mount there. */
function makeTarget({ rootfs, idMap }: NewContainer, destination: string, isDirectory: boolean): void {
  if (!isBehindDanglingLink(rootfs, destination)) return;
  try {
    makeTargetBehindLinks(rootfs, destination, isDirectory, hostRootOf(idMap));
  } catch (error) {
    throw new StatusError(
      Code.InvalidArgument,
      `mount at ${destination} in the container, which is behind a link in the image: ${messageOf(error)}`,
      error,
    );
  }
}

/** Mounts the images of a container's mounts, each once for each mapping of ids. */
class ImageMounter {
  readonly #d: Pick<Machine, "containerHost"> & Images;
  readonly #c: NewContainer;
  readonly #mounted = new Map<string, string>();

  constructor(d: Pick<Machine, "containerHost"> & Images, c: NewContainer) {
    this.#d = d;
    this.#c = c;
  }

  /** @param image the plan's name for it. Returns where it is mounted. */
  async mount(image: string, mappings: IdMappings | undefined): Promise<string> {
    const { plan, mountedImages, idMap } = this.#c;
    const key = JSON.stringify([image, mappings]);
    const mounted = this.#mounted.get(key);
    if (mounted !== undefined) return mounted;
    const layerDirs = this.#d.images.lowerDirectories(mountedImages.find(({ name }) => name === image)!);
    const look = { label: plan.seLinux?.mount, idMap: idMapOf(mappings, idMap) };
    const path = await this.#d.containerHost.mountImage(plan.id, String(this.#mounted.size), layerDirs, look);
    this.#mounted.set(key, path);
    return path;
  }
}

function unusable(policy: MountPolicy, path: string, { destination }: MountPlan, error: SystemError): StatusError {
  return new StatusError(
    Code.InvalidArgument,
    `mount source ${path} (for ${destination} in the container) ${problemOf(policy, path, error)}`,
    error,
  );
}

function problemOf(policy: MountPolicy, path: string, error: SystemError): string {
  if (error.stage === "make") return `does not exist and cannot be made: ${error.message}`;
  if (error.code !== "ENOENT") return `cannot be used: ${error.message}`;
  return `does not exist, and keelsond's configuration says not to make it (${whyNotMade(policy, path)} under [containers]); make it, or change that`;
}

/**
 * Mounts propagate in both directions only through a shared mount, in one direction through a shared or slave mount
 * (mount_namespaces(7)).
 */
function checkPropagation(
  source: string,
  propagation: MountPlan["propagation"],
  hostMounts: readonly MountInfo[],
): void {
  if (propagation === "rprivate") return;
  const around = hostMounts.findLast((m) => isAtOrBelow(source, m.target));
  if (around?.shared !== undefined || (propagation === "rslave" && around?.master !== undefined)) return;
  const wanted = propagation === "rshared" ? "a shared" : "a shared or slave";
  const target = around?.target ?? "/";
  throw new StatusError(
    Code.FailedPrecondition,
    `mount source ${source} is in ${target}, which is not ${wanted} mount; its propagation needs one (\`mount --make-rshared ${target}\`)`,
  );
}

/** The path to mount from an image. Nobody changes the image, and its links do not lead outside. */
function imageSource(root: string, { image, subPath }: { image: string; subPath: string }): string {
  if (subPath === "") return root;
  const what = `image_sub_path ${quote(subPath)} of image ${image}`;
  const inside = resolveInRoot(root, subPath);
  if (inside === undefined) throw new StatusError(Code.NotFound, `${what}: the image has nothing at this path`);
  const path = join(root, inside);
  const found = statSync(path);
  if (!found.isDirectory() && !found.isFile())
    throw new StatusError(
      Code.InvalidArgument,
      `${what} is ${kindOf(found)}; only directories and files of an image can be mounted`,
    );
  return path;
}

function kindOf(stat: Stats): string {
  return stat.isFIFO() ? "a FIFO" : stat.isSocket() ? "a socket" : "a device node";
}

/** Makes the volumes that the image of a container declares. */
class VolumeMaker {
  readonly #d: Pick<Machine, "containerHost">;
  readonly #c: NewContainer;
  /** By the path that they cover, as the runtime resolves it: two volumes may lead to the same path. */
  readonly #made = new Map<string, string>();
  /** The paths that other mounts cover: a volume around them does not need their content. */
  #hidden: ReadonlySet<string> | undefined;

  constructor(d: Pick<Machine, "containerHost">, c: NewContainer) {
    this.#d = d;
    this.#c = c;
  }

  async make(destination: string, signal: AbortSignal): Promise<string> {
    const { plan, rootfs } = this.#c;
    const path = resolveInRoot(rootfs, destination);
    const made = this.#made.get(path ?? destination);
    if (made !== undefined) return made;
    this.#hidden ??= new Set(plan.mounts.flatMap((mount) => resolveInRoot(rootfs, mount.destination) ?? []));
    try {
      const volume = await this.#d.containerHost.makeVolume(
        plan.id,
        String(this.#made.size),
        { rootfs, path, hidden: this.#hidden, owner: hostRootOf(this.#c.idMap) },
        signal,
      );
      this.#made.set(path ?? destination, volume);
      return volume;
    } catch (error) {
      throw wrapError(`volume ${destination}, which the image declares`, error);
    }
  }
}
