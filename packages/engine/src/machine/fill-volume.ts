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

/** The initial content of a volume. */
export interface VolumeContent {
  /** A container's root file system that nobody changes in the meantime. */
  readonly rootfs: string;
  /** The directory in it, without links, such as `/data`; undefined when it does not exist. */
  readonly path: string | undefined;
  /** Paths of the same form that other mounts will cover: of these only an empty directory is made. */
  readonly hidden: ReadonlySet<string>;
  /** The owner of a volume without content: the container's root user, by its ids on the host. */
  readonly owner: { readonly uid: number; readonly gid: number };
}

/** State of a copy. */
interface Copy {
  readonly hidden: ReadonlySet<string>;
  /** Where the first name of each file with several names went, by device and inode. */
  readonly links: Map<string, Buffer>;
  readonly signal: AbortSignal;
  files: number;
}

/** How many files to copy in one turn of the event loop. */
const filesPerTurn = 256;

const slash = Buffer.from("/");

/**
 * Makes the directory `target` a copy of a directory of a root file system: owners, modes, times, extended attributes,
 * hard links, symbolic links, device nodes and FIFOs. If that directory does not exist, makes an empty one that belongs
 * to `owner`. Nested volumes are left out, so that each file of an image is copied at most once and volumes take no
 * more space than the image.
 *
 * Throws InvalidArgument when it is not a directory, ResourceExhausted when the disk is full. The caller removes what
 * was copied until then.
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
        `${(error as Error).message}; make room on the disk of keelsond's root directory`,
        error,
      );
    throw error;
  }
}

/** As the bytes of whole paths, which is what the copy compares. */
function hiddenBelow(rootfs: string, path: string, hidden: ReadonlySet<string>): Set<string> {
  return new Set(
    [...hidden].filter((other) => other !== path).map((other) => Buffer.from(join(rootfs, other)).toString("latin1")),
  );
}

async function copyContent(copy: Copy, from: Buffer, to: Buffer): Promise<void> {
  for (const name of await readdir(from, { encoding: "buffer" })) {
    copy.signal.throwIfAborted();
    if ((copy.files += 1) % filesPerTurn === 0) await turn();
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

/** Where the file went under another of its names; undefined for its first name, which is recorded. */
function linkTo({ links }: Copy, stat: BigIntStats, to: Buffer): Buffer | undefined {
  const key = `${stat.dev}:${stat.ino}`;
  const known = links.get(key);
  if (known === undefined) links.set(key, to);
  return known;
}

async function copyNode(from: Buffer, to: Buffer, stat: BigIntStats): Promise<void> {
  if (stat.isSymbolicLink()) return symlinkSync(readlinkSync(from, "buffer"), to);
  if (stat.isFile()) return copyFile(from, to, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
  // makedev(3), as in glibc.
  const major = ((stat.rdev >> 8n) & 0xfffn) | ((stat.rdev >> 32n) & 0xfffff000n);
  const minor = (stat.rdev & 0xffn) | ((stat.rdev >> 12n) & 0xffffff00n);
  mknod(to, Number(stat.mode & ~0o7777n), Number(major), Number(minor));
}

/** Owner first: chown(2) clears setuid bits and capabilities. */
function copyAttributes(from: Buffer, to: Buffer, stat: BigIntStats): void {
  lchownSync(to, Number(stat.uid), Number(stat.gid));
  if (!stat.isSymbolicLink()) chmodSync(to, Number(stat.mode & 0o7777n));
  for (const name of llistxattr(from)) copyXattr(from, to, name);
  utimensat(to, stat.atimeNs, stat.mtimeNs, true);
}

/**
 * A label belongs to the place, not to the file. Attributes that the disk does not support are left out, as when images
 * are unpacked.
 */
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
