import { native } from "./native.ts";
import type { Path } from "./native.ts";

export interface DiskUsage {
  /** Blocks on disk, 512 bytes each; a file with several names counts once. */
  bytes: number;
  inodes: number;
}

/**
 * What a directory tree takes on disk, without what is mounted in it. Of any depth; may change meanwhile. Throws
 * SystemError, ENOENT when it is not there.
 */
export function diskUsage(dir: Path): DiskUsage {
  return native.diskUsage(dir);
}

/** The same on libuv's pool. */
export async function diskUsageAsync(dir: Path): Promise<DiskUsage> {
  return await native.diskUsageAsync(dir);
}

/**
 * rm -rf. Follows no symlink and crosses no mount point: one in the way stays as it is, all else is removed, and EBUSY
 * thrown. Missing is fine. Throws SystemError, the first of several.
 */
export function removeTree(path: Path): void {
  native.removeTree(path);
}

/** The same on libuv's pool. */
export async function removeTreeAsync(path: Path): Promise<void> {
  await native.removeTreeAsync(path);
}
