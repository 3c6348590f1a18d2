import { chmodSync, chownSync, closeSync, mkdirSync, openSync } from "node:fs";
import { release } from "node:os";
import { dirname, join } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { bindMount, readMounts, unmount } from "@keelson/linux/mount.ts";
import { createNamespacesAsync, hostIdOf, unpinNamespaceAsync } from "@keelson/linux/namespace.ts";
import { isAtOrBelow } from "@keelson/plan/clean-path.ts";
import { hostRootOf, type IdMappings } from "@keelson/plan/user-namespace.ts";

/** Mappings of ids and, if there is one, a pinned user namespace that has them. */
export interface IdMap extends IdMappings {
  /** The pod's, if it has the same mappings; undefined when one must be made. */
  readonly userns: string | undefined;
}

/** The mappings of a pod, whose user namespace is pinned; undefined when it has none. */
export function podIdMap(userNamespace: IdMappings | undefined, pin: string): IdMap | undefined {
  return userNamespace === undefined ? undefined : { ...userNamespace, userns: pin };
}

/** Uses the pod's own user namespace for a mount with the same mappings, which is what a kubelet asks for. */
export function idMapOf(mappings: IdMappings | undefined, pods: IdMap | undefined): IdMap | undefined {
  if (mappings === undefined) return undefined;
  const isPods =
    pods !== undefined && JSON.stringify([mappings.uids, mappings.gids]) === JSON.stringify([pods.uids, pods.gids]);
  return isPods ? pods : { ...mappings, userns: undefined };
}

/** A user namespace with the mappings: the pod's, or one that is pinned until this is disposed of. */
export class UserNamespacePin implements AsyncDisposable {
  readonly path: string;
  readonly #own: boolean;

  private constructor(path: string, own: boolean) {
    this.path = path;
    this.#own = own;
  }

  /** @param path where to pin one if it must be made. */
  static async of(path: string, { userns, uids, gids }: IdMap): Promise<UserNamespacePin> {
    if (userns !== undefined) return new UserNamespacePin(userns, false);
    await createNamespacesAsync({ user: { pin: path, uids, gids } });
    return new UserNamespacePin(path, true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#own) await unpinNamespaceAsync(this.path);
  }
}

/**
 * Layers for an overlay that shows them with mapped ids. Their common directory is mounted once, idmapped, in the
 * bundle; the overlay keeps it when that mount goes. Throws FailedPrecondition when the file system cannot map ids.
 */
export class MappedLayers implements AsyncDisposable {
  /** The directories to use for the layers. */
  readonly dirs: readonly string[];
  readonly #mounted: string | undefined;

  private constructor(dirs: readonly string[], mounted: string | undefined) {
    this.dirs = dirs;
    this.#mounted = mounted;
  }

  static async of(bundle: string, layerDirs: readonly string[], idMap: IdMap | undefined): Promise<MappedLayers> {
    if (idMap === undefined) return new MappedLayers(layerDirs, undefined);
    const target = join(bundle, "layers");
    const common = commonDirectory(layerDirs);
    await using userns = await UserNamespacePin.of(join(bundle, "layers-userns"), idMap);
    mkdirSync(target, { recursive: true, mode: 0o700 });
    try {
      bindMount(common, target, { idmap: userns.path, readonly: true, propagation: "private" });
    } catch (error) {
      throw cannotMap(common, error);
    }
    return new MappedLayers(
      layerDirs.map((dir) => join(target, dir.slice(common.length))),
      target,
    );
  }

  [Symbol.asyncDispose](): Promise<void> {
    if (this.#mounted !== undefined) unmount(this.#mounted, { detach: true });
    return Promise.resolve();
  }
}

/** The lowest directory that contains all; a single one itself. */
function commonDirectory(dirs: readonly string[]): string {
  let common = dirs[0]!;
  while (!dirs.every((dir) => isAtOrBelow(dir, common))) common = dirname(common);
  return common;
}

/**
 * Opens the bundle to the root user of the user namespace, who looks up the root file system by this path. Nobody else
 * gets in.
 */
export function letIn(bundle: string, idMap: IdMap): void {
  chownSync(bundle, 0, hostRootOf(idMap).gid);
  chmodSync(bundle, 0o710);
}

/** The host's ids for ids of a container; those of its root user for ids that are not mapped. */
export function mappedIds({ uid, gid }: { uid: number; gid: number }, idMap: IdMap): { uid: number; gid: number } {
  const root = hostRootOf(idMap);
  return { uid: hostIdOf(uid, idMap.uids) ?? root.uid, gid: hostIdOf(gid, idMap.gids) ?? root.gid };
}

/** Makes a directory, or a file if a file is to be mounted. */
export function makeMountPoint(target: string, isDirectory: boolean): void {
  mkdirSync(dirname(target), { recursive: true, mode: 0o755 });
  if (isDirectory) mkdirSync(target, { recursive: true });
  else closeSync(openSync(target, "a", 0o644));
}

/** FailedPrecondition, naming the file system, if the mapping was what failed; otherwise the error itself. */
export function cannotMap(source: string, error: unknown): unknown {
  if (!isErrno(error, "EINVAL", "EPERM", "ENOSYS") || error.stage !== "idmap") return error;
  const around = readMounts().findLast((m) => isAtOrBelow(source, m.target));
  const what = around === undefined ? "its file system" : `${around.fstype}, mounted at ${around.target},`;
  return new StatusError(
    Code.FailedPrecondition,
    `${source} cannot be shown with other ids: ${what} has no idmapped mounts on Linux ${release()}; use a file system that has them, such as ext4 or xfs`,
    error,
  );
}
