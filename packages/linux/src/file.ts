import { native } from "./native.ts";
import type { Path } from "./native.ts";

export interface FileSystemStat {
  /** The magic number, statfs(2): 0x794c7630n is overlay, 0x63677270n is cgroup2. */
  type: bigint;
  blockSizeBytes: bigint;
  blocks: bigint;
  /** Including those reserved for root. */
  blocksFree: bigint;
  blocksAvailable: bigint;
  /** 0 where inodes are created as needed (btrfs). */
  inodes: bigint;
  inodesFree: bigint;
}

/** statfs(2). Throws SystemError. */
export function statfs(path: string): FileSystemStat {
  return native.statfs(path);
}

/**
 * Takes the exclusive lock of an open file, flock(2), until the last copy of the fd is closed. Returns false when it is
 * held already. Throws SystemError.
 */
export function flock(fd: number): boolean {
  return native.flock(fd);
}

/** lsetxattr(2): does not follow a symlink. Throws SystemError: ENOTSUP where the file system has no attributes. */
export function lsetxattr(path: Path, name: string, value: Uint8Array): void {
  native.lsetxattr(path, name, value);
}

/** lgetxattr(2); null when there is no such attribute. Throws SystemError. */
export function lgetxattr(path: Path, name: string): Buffer | null {
  return native.lgetxattr(path, name);
}

/** llistxattr(2): the names. Throws SystemError. */
export function llistxattr(path: Path): string[] {
  return native.llistxattr(path).toString().split("\0").slice(0, -1);
}

/** lremovexattr(2). Throws SystemError: ENODATA when there is none. */
export function lremovexattr(path: Path, name: string): void {
  native.lremovexattr(path, name);
}

/** mknod(2); mode includes the file type, `S_IFCHR | 0o600`, and the umask applies. Throws SystemError. */
export function mknod(path: Path, mode: number, major = 0, minor = 0): void {
  native.mknod(path, mode, major, minor);
}

/** utimensat(2), in ns since 1970; negative before that. Throws SystemError. */
export function utimensat(path: Path, atimeNs: bigint, mtimeNs: bigint, nofollow: boolean): void {
  native.utimensat(path, atimeNs, mtimeNs, nofollow);
}

/** Writes the whole file system of an open file to disk, syncfs(2), on libuv's pool. Throws SystemError. */
export async function syncfs(fd: number): Promise<void> {
  await native.syncfs(fd);
}
