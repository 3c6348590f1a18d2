import {
  chmodSync,
  constants,
  lchownSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  symlinkSync,
  type BigIntStats,
} from "node:fs";
import { copyFile, link, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { lgetxattr, llistxattr, lsetxattr, mknod, utimensat } from "@keelson/linux/file.ts";

/** What a volume begins with. */
export interface VolumeContent {
  /** A container's root file system that nobody changes meanwhile. */
  readonly rootfs: string;
  /** Of the directory in it, free of links, `/data`; undefined when there is nothing. */
  readonly path: string | undefined;
  /** Paths of the same form that other mounts will cover: only an empty directory is made for one. */
  readonly hidden: ReadonlySet<string>;
  /** Of a volume for which there is nothing: the container's root, as the host has it. */
  readonly owner: { readonly uid: number; readonly gid: number };
}

/** What is kept while a tree is copied. */
interface Copy {
  readonly hidden: ReadonlySet<string>;
  /** Files with several names, by device and inode: where the first of them went. */
  readonly links: Map<string, Buffer>;
  readonly signal: AbortSignal;
  files: number;
}

/** Between so many files others have their turn. */
const filesInATurn = 256;

const slash = Buffer.from("/");

/**
 * Makes the directory `target` a copy of a directory of a root file system: owners, modes, times,
 * extended attributes, hard links, links as they are, device nodes and FIFOs. An empty one of `owner` where the root
 * file system has nothing. Each file of an image is copied once at most, as volumes in a volume are left out, so that
 * volumes take no more than the image.
 *
 * Throws InvalidArgument when it is no directory, ResourceExhausted when the disk is full; what was
 * copied until then stays for the caller to remove.
 */
export async function fillVolume(
  target: string,
  { rootfs, path, hidden, owner }: VolumeContent,
  signal: AbortSignal,
): Promise<void> {
  mkdirSync(target, { recursive: true, mode: 0o755 });
  if (path === undefined) return lchownSync(target, owner.uid, owner.gid);
  const source = Buffer.from(join(rootfs, path));
  const stat = lstatSync(source, { bigint: true });
  if (!stat.isDirectory()) throw new StatusError(Code.InvalidArgument, `${path} of the image is not a directory`);
  const copy: Copy = { hidden: hiddenBelow(rootfs, path, hidden), links: new Map(), signal, files: 0 };
  try {
    await copyContent(copy, source, Buffer.from(target));
    copyAttributes(source, Buffer.from(target), stat);
  } catch (error) {
    if (isErrno(error, "ENOSPC", "EDQUOT"))
      throw new StatusError(
        Code.ResourceExhausted,
        `${(error as Error).message}; make room on the disk of keelsond's root`,
        error,
      );
    throw error;
  }
}

/** As the bytes of whole paths, which is what the walk has. */
function hiddenBelow(rootfs: string, path: string, hidden: ReadonlySet<string>): Set<string> {
  return new Set(
    [...hidden].filter((other) => other !== path).map((other) => Buffer.from(join(rootfs, other)).toString("latin1")),
  );
}

async function copyContent(copy: Copy, from: Buffer, to: Buffer): Promise<void> {
  for (const name of await readdir(from, { encoding: "buffer" })) {
    copy.signal.throwIfAborted();
    if ((copy.files += 1) % filesInATurn === 0) await turn();
    const source = Buffer.concat([from, slash, name]);
    await copyEntry(copy, source, Buffer.concat([to, slash, name]), lstatSync(source, { bigint: true }));
  }
}

async function copyEntry(copy: Copy, from: Buffer, to: Buffer, stat: BigIntStats): Promise<void> {
  if (stat.isDirectory()) {
    mkdirSync(to, { mode: 0o700 });
    if (!copy.hidden.has(from.toString("latin1"))) await copyContent(copy, from, to);
  } else {
    const known = stat.nlink > 1n ? linkTo(copy, stat, to) : undefined;
    if (known !== undefined) return link(known, to);
    await copyNode(from, to, stat);
  }
  copyAttributes(from, to, stat);
}

/** Where the file went under another of its names; undefined for the first, which is noted. */
function linkTo({ links }: Copy, stat: BigIntStats, to: Buffer): Buffer | undefined {
  const key = `${stat.dev}:${stat.ino}`;
  const known = links.get(key);
  if (known === undefined) links.set(key, to);
  return known;
}

async function copyNode(from: Buffer, to: Buffer, stat: BigIntStats): Promise<void> {
  if (stat.isSymbolicLink()) return symlinkSync(readlinkSync(from, "buffer"), to);
  if (stat.isFile()) return copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  // makedev(3) as glibc has it.
  const major = ((stat.rdev >> 8n) & 0xfffn) | ((stat.rdev >> 32n) & 0xfffff000n);
  const minor = (stat.rdev & 0xffn) | ((stat.rdev >> 12n) & 0xffffff00n);
  mknod(to, Number(stat.mode & ~0o7777n), Number(major), Number(minor));
}

/** Owner first: chown(2) takes setuid bits and capabilities away. */
function copyAttributes(from: Buffer, to: Buffer, stat: BigIntStats): void {
  lchownSync(to, Number(stat.uid), Number(stat.gid));
  if (!stat.isSymbolicLink()) chmodSync(to, Number(stat.mode & 0o7777n));
  for (const name of llistxattr(from)) copyXattr(from, to, name);
  utimensat(to, stat.atimeNs, stat.mtimeNs, true);
}

/** A label is the place's, not the file's; a disk that has no attributes of a kind does without, as when images are unpacked. */
function copyXattr(from: Buffer, to: Buffer, name: string): void {
  if (name === "security.selinux" || name.startsWith("trusted.overlay.")) return;
  const value = lgetxattr(from, name);
  if (value === null) return;
  try {
    lsetxattr(to, name, value);
  } catch (error) {
    if (!isErrno(error, "ENOTSUP", "EOPNOTSUPP")) throw error;
  }
}
