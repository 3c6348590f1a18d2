import { readFileSync, realpathSync } from "node:fs";
import { isErrno } from "./errno.ts";
import { native } from "./native.ts";
import type { Path } from "./native.ts";

/** Flags of mount(2). */
export const MS = {
  RDONLY: 0x1,
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  SYNCHRONOUS: 0x10,
  REMOUNT: 0x20,
  MANDLOCK: 0x40,
  DIRSYNC: 0x80,
  NOSYMFOLLOW: 0x100,
  NOATIME: 0x400,
  NODIRATIME: 0x800,
  BIND: 0x1000,
  MOVE: 0x2000,
  REC: 0x4000,
  SILENT: 0x8000,
  UNBINDABLE: 0x20000,
  PRIVATE: 0x40000,
  SLAVE: 0x80000,
  SHARED: 0x100000,
  RELATIME: 0x200000,
  STRICTATIME: 0x1000000,
  LAZYTIME: 0x2000000,
} as const;

const propagationFlags = {
  private: MS.PRIVATE,
  slave: MS.SLAVE,
  shared: MS.SHARED,
  unbindable: MS.UNBINDABLE,
  rprivate: MS.PRIVATE | MS.REC,
  rslave: MS.SLAVE | MS.REC,
  rshared: MS.SHARED | MS.REC,
  runbindable: MS.UNBINDABLE | MS.REC,
} as const;

/** mount_namespaces(7); with r for all mounts below too. */
export type Propagation = keyof typeof propagationFlags;

export interface MountOptions {
  source?: string;
  target: string;
  fstype?: string;
  /** `MS.NOSUID | MS.NODEV` */
  flags?: number;
  /** At most one page, as mount(2) has it. */
  data?: string;
}

/** mount(2). Throws SystemError. */
export function mount(options: MountOptions): void {
  native.mount(
    options.source ?? null,
    options.target,
    options.fstype ?? null,
    options.flags ?? 0,
    options.data ?? null,
  );
}

export interface BindOptions {
  /** Take along what is mounted below the source. */
  recursive?: boolean;
  /** `true`: this mount; `"recursive"`: all below too, which wants Linux 5.12 (else ENOSYS). Flags like nosuid stay. */
  readonly?: boolean | "recursive";
  propagation?: Propagation;
  /**
   * Path of a user namespace: id N of the files looks, from outside, as N of the namespace would. Wants Linux 5.12 and a
   * file system that can, with `recursive` those of all mounts below too (else EINVAL with `stage` "idmap").
   */
  idmap?: string;
  /** Use only the calls of Linux before 5.12. */
  oldCalls?: boolean;
}

/**
 * Mounts source also on target, in one step where Linux has mount_setattr(2) (5.12): nobody sees it writable first.
 * Throws SystemError, with nothing mounted.
 */
export function bindMount(source: string, target: string, options: BindOptions = {}): void {
  void bindCall(source, target, options, false);
}

/** The same on libuv's pool, for a source that may be slow. */
export async function bindMountAsync(source: string, target: string, options: BindOptions = {}): Promise<void> {
  await bindCall(source, target, options, true);
}

function bindCall(source: string, target: string, options: BindOptions, async: boolean): Promise<void> | undefined {
  const readonly = options.readonly === "recursive" ? 2 : options.readonly ? 1 : 0;
  const propagation = options.propagation === undefined ? 0 : propagationFlags[options.propagation];
  return native.bind(
    source,
    target,
    options.recursive ?? false,
    readonly,
    propagation,
    options.oldCalls ?? false,
    options.idmap ?? null,
    async,
  );
}

export interface UnmountOptions {
  /** Take it out of the tree now, and end it when its last user is gone (MNT_DETACH). */
  detach?: boolean;
  /** Nothing there, or nothing mounted there, is no error. */
  ignoreMissing?: boolean;
}

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

function unmountFlags(options: UnmountOptions): number {
  return UMOUNT_NOFOLLOW | (options.detach ? MNT_DETACH : 0);
}

/** umount2(2); never follows a symlink. Returns false when it was missing and that is ignored. Throws SystemError. */
export function unmount(target: Path, options: UnmountOptions = {}): boolean {
  try {
    native.unmount(target, unmountFlags(options), false);
    return true;
  } catch (error) {
    if (options.ignoreMissing && isErrno(error, "EINVAL", "ENOENT")) return false;
    throw error;
  }
}

/** The same on libuv's pool: the last unmount of an overlay first writes its upper layer's file system to disk. */
export async function unmountAsync(target: Path, options: UnmountOptions = {}): Promise<boolean> {
  try {
    await native.unmount(target, unmountFlags(options), true);
    return true;
  } catch (error) {
    if (options.ignoreMissing && isErrno(error, "EINVAL", "ENOENT")) return false;
    throw error;
  }
}

/** Sets how mounts made there are shared with other mount namespaces. Throws SystemError. */
export function setPropagation(target: string, propagation: Propagation): void {
  native.mount(null, target, null, propagationFlags[propagation], null);
}

/** One line of /proc/self/mountinfo, proc_pid_mountinfo(5). */
export interface MountInfo {
  id: number;
  parentId: number;
  /** "major:minor" */
  device: string;
  /** Which directory of the file system is mounted. */
  root: string;
  target: string;
  /** The target's bytes, which need not be UTF-8. */
  targetBytes: Buffer;
  /** Of the mount: "ro", "nosuid" … */
  options: string[];
  /** Peer group when shared. */
  shared?: number;
  /** Peer group it receives from when a slave. */
  master?: number;
  unbindable: boolean;
  fstype: string;
  source: string;
  /** Of the file system. Not split: the paths in an overlay's may hold commas. */
  superOptions: string;
}

/** The file says \040 for a space, and so on: undone byte by byte, on text read as latin1. */
function unescape(text: string): Buffer {
  return Buffer.from(
    text.replace(/\\([0-3][0-7]{2})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    "latin1",
  );
}

function peerGroup(fields: string[], tag: string): number | undefined {
  const found = fields.find((field) => field.startsWith(tag));
  return found === undefined ? undefined : Number(found.slice(tag.length));
}

/** Parses the bytes of a mountinfo file. Lines that are none are left out. */
export function parseMountInfo(bytes: Buffer): MountInfo[] {
  const mounts: MountInfo[] = [];
  for (const line of bytes.toString("latin1").split("\n")) {
    const fields = line.split(" ");
    const separator = fields.indexOf("-", 6);
    const [id, parentId, device, root, target, options] = fields;
    const [fstype, source, superOptions] = fields.slice(separator + 1);
    if (
      separator < 0 ||
      root === undefined ||
      target === undefined ||
      device === undefined ||
      options === undefined ||
      fstype === undefined
    )
      continue;
    if (!/^\d+$/.test(id ?? "") || !/^\d+$/.test(parentId ?? "")) continue;
    const optional = fields.slice(6, separator);
    const shared = peerGroup(optional, "shared:");
    const master = peerGroup(optional, "master:");
    const targetBytes = unescape(target);
    mounts.push({
      id: Number(id),
      parentId: Number(parentId),
      device,
      root: unescape(root).toString(),
      target: targetBytes.toString(),
      targetBytes,
      options: options.split(","),
      ...(shared === undefined ? {} : { shared }),
      ...(master === undefined ? {} : { master }),
      unbindable: optional.includes("unbindable"),
      fstype: unescape(fstype).toString(),
      source: unescape(source ?? "").toString(),
      superOptions: unescape(superOptions ?? "").toString(),
    });
  }
  return mounts;
}

/** All mounts that this process sees, in the order they lie over each other. */
export function readMounts(): MountInfo[] {
  return parseMountInfo(readFileSync("/proc/self/mountinfo"));
}

/** The mounts at dir and below it, parents first. */
export function mountsUnder(dir: string, mounts: MountInfo[] = readMounts()): MountInfo[] {
  let real = dir;
  try {
    real = realpathSync(dir);
  } catch {
    // What is not there has no mounts; what cannot be reached is looked for by the name given.
  }
  const prefix = real.endsWith("/") ? real : `${real}/`;
  return mounts.filter((info) => info.target === real || info.target.startsWith(prefix));
}

/**
 * Detaches every mount at dir and below, deepest first, several on one place too. Returns how many there were.
 * Throws SystemError; EBUSY when after ten rounds new ones still appear.
 */
export async function unmountAllUnder(dir: string): Promise<number> {
  let count = 0;
  for (let round = 0; round < 10; round++) {
    const found = mountsUnder(dir);
    if (found.length === 0) return count;
    for (const info of found.reverse()) {
      if (await unmountAsync(info.targetBytes, { detach: true, ignoreMissing: true })) count++;
    }
  }
  const left = mountsUnder(dir)[0];
  if (left === undefined) return count;
  throw Object.assign(new Error(`unmount all under ${dir}: ${left.target} is mounted again and again (EBUSY)`), {
    code: "EBUSY",
    errno: 16,
    syscall: "umount2",
    path: left.target,
  });
}
