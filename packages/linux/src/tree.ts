import { native } from "./native.ts";
import type { Path } from "./native.ts";

export interface DiskUsage {
  /** Of blocks on disk, in steps of 512; a file with several names counts once. */
  bytes: number;
  inodes: number;
}

/**
 * How much of the disk a directory tree takes, without what is mounted in it. It may be of any depth, and may change
 * meanwhile. Throws SystemError: ENOENT when it does not exist.
 */
export function diskUsage(dir: Path): DiskUsage {
  return native.diskUsage(dir);
}

/** The same on libuv's pool. */
export async function diskUsageAsync(dir: Path): Promise<DiskUsage> {
  return await native.diskUsageAsync(dir);
}

/**
 * rm -rf. Follows no symlink and crosses no mount point: a mount in the way stays, everything else is removed, and
 * EBUSY is thrown. It is no error when the path does not exist. Throws SystemError, the first of several.
 */
export function removeTree(path: Path): void {
  native.removeTree(path);
}

/** The same on libuv's pool. */
export async function removeTreeAsync(path: Path): Promise<void> {
  await native.removeTreeAsync(path);
}
