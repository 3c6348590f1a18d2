import { readFileSync, realpathSync } from "node:fs";
import { isErrno } from "./errno.ts";
import { native } from "./native.ts";
import type { Path } from "./native.ts";

/** The flags of mount(2) that are used here. */
export const MS = {
  NOSUID: 0x2,
  NODEV: 0x4,
  NOEXEC: 0x8,
  REMOUNT: 0x20,
  BIND: 0x1000,
  REC: 0x4000,
  UNBINDABLE: 0x20000,
  PRIVATE: 0x40000,
  SLAVE: 0x80000,
  SHARED: 0x100000,
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
  /** At most one page, mount(2). */
  data?: string;
}

/** mount(2). Throws SystemError. */
export function mount(options: MountOptions): void {
  const { source = null, target, fstype = null, flags = 0, data = null } = options;
  native.mount({ source, target, fstype, flags, data });
}

export interface BindOptions {
  /** Include what is mounted below the source. */
  recursive?: boolean;
  /** `true`: this mount; `"recursive"`: all below too, which needs Linux 5.12 (else ENOSYS). Flags like nosuid stay. */
  readonly?: boolean | "recursive";
  propagation?: Propagation;
  /**
   * Path of a user namespace: id N of the files looks, from outside, as N of the namespace would. Needs Linux 5.12 and
   * a file system that supports it, with `recursive` on all mounts below too (else EINVAL with `stage` "idmap").
   */
  idmap?: string;
  /** Use only the calls of Linux before 5.12. */
  oldCalls?: boolean;
}

/**
 * Mounts source on target as well, in one step where Linux has mount_setattr(2) (5.12): nobody sees it writable first.
 * Throws SystemError, with nothing mounted.
 */
export function bindMount(source: string, target: string, options: BindOptions = {}): void {
  native.bind(bindCall(source, target, options));
}

/** What the native call takes; also for bind-source.ts. */
export function bindCall(source: string, target: string, options: BindOptions): Parameters<typeof native.bind>[0] {
  return {
    source,
    target,
    isRecursive: options.recursive ?? false,
    readonly: options.readonly === "recursive" ? 2 : options.readonly ? 1 : 0,
    propagation: options.propagation === undefined ? 0 : propagationFlags[options.propagation],
    usesOldCalls: options.oldCalls ?? false,
    idmap: options.idmap ?? null,
  };
}

export interface UnmountOptions {
  /** Remove it from the tree now, and unmount it when its last user is gone (MNT_DETACH). */
  detach?: boolean;
  /** It is no error when target does not exist or nothing is mounted on it. */
  ignoreMissing?: boolean;
}

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

function unmountFlags(options: UnmountOptions): number {
  return UMOUNT_NOFOLLOW | (options.detach ? MNT_DETACH : 0);
}

/**
 * umount2(2); never follows a symlink. Returns false when there was no mount and that is ignored. Throws SystemError.
 */
export function unmount(target: Path, options: UnmountOptions = {}): boolean {
  try {
    native.unmount(target, unmountFlags(options));
    return true;
  } catch (error) {
    if (options.ignoreMissing && isErrno(error, "EINVAL", "ENOENT")) return false;
    throw error;
  }
}

/** The same on libuv's pool: the last unmount of an overlay first writes its upper layer's file system to disk. */
export async function unmountAsync(target: Path, options: UnmountOptions = {}): Promise<boolean> {
  try {
    await native.unmountAsync(target, unmountFlags(options));
    return true;
  } catch (error) {
    if (options.ignoreMissing && isErrno(error, "EINVAL", "ENOENT")) return false;
    throw error;
  }
}

/** One line of /proc/self/mountinfo, proc_pid_mountinfo(5). */
export interface MountInfo {
  id: number;
  parentId: number;
  /** "major:minor" */
  device: string;
  /** The directory of the file system that is mounted. */
  root: string;
  target: string;
  /** The target as bytes, which need not be UTF-8. */
  targetBytes: Buffer;
  /** Of the mount: "ro", "nosuid" … */
  options: string[];
  /** Peer group when shared. */
  shared?: number;
  /** Peer group that it receives from when it is a slave. */
  master?: number;
  unbindable: boolean;
  fstype: string;
  source: string;
  /** Of the file system. Not split: the paths in an overlay's may contain commas. */
  superOptions: string;
}

/** Undoes the file's escapes (\040 for a space) byte by byte, in text that was read as latin1. */
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

/** Parses the bytes of a mountinfo file. Malformed lines are left out. */
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

/** All mounts that this process sees, in the order in which they cover each other. */
export function readMounts(): MountInfo[] {
  return parseMountInfo(readFileSync("/proc/self/mountinfo"));
}

/** The mounts at dir and below it, parents first. */
export function mountsUnder(dir: string, mounts: MountInfo[] = readMounts()): MountInfo[] {
  let real = dir;
  try {
    real = realpathSync(dir);
  } catch {
    // A missing directory has no mounts; for one that cannot be reached the given name has to do.
  }
  const prefix = real.endsWith("/") ? real : `${real}/`;
  return mounts.filter((info) => info.target === real || info.target.startsWith(prefix));
}

/**
 * Detaches every mount at dir and below, deepest first, also where several are stacked. Returns how many there were.
 * Throws SystemError; EBUSY when new ones still appear after ten rounds.
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
  throw Object.assign(new Error(`unmount all under ${dir}: ${left.target} keeps being mounted again (EBUSY)`), {
    code: "EBUSY",
    errno: 16,
    syscall: "umount2",
    path: left.target,
  });
}
