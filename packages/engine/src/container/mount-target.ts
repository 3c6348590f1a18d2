import { closeSync, constants, fchownSync, lchownSync, lstatSync, mkdirSync, openSync, readlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { isErrno } from "@keelson/linux/errno.ts";
import { resolveInRoot } from "../machine/root-file.ts";

/**
 * Whether a mount's place in a root file system is behind a link that leads nowhere yet, such as `/var/spool/app` with
 * `/var/spool -> /data/spool` and no /data. Throws InvalidArgument for too many links.
 */
export function isBehindDanglingLink(rootfs: string, destination: string): boolean {
  if (resolveInRoot(rootfs, destination) !== undefined) return false;
  return missingPart(rootfs, destination)?.link !== undefined;
}

/** The container's root user, by its ids on the host. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Makes what a mount's place leads to, so that it can be mounted over: runc does that by itself, crun 1.8 fails.
 * Follows links as a process in the container would; makes nothing outside the root. Only for a root that nobody else
 * changes in the meantime.
 */
export function makeTargetBehindLinks(rootfs: string, destination: string, isDirectory: boolean, owner: Owner): void {
  const at = makeParents(rootfs, destination, owner);
  if (isDirectory) makeDirectory(rootfs, at, owner);
  else makeFile(rootfs, at, owner);
}

/** The path without links that `path` leads to. Makes all of it but the last part. */
function makeParents(rootfs: string, path: string, owner: Owner): string {
  for (let at = path; ;) {
    const missing = missingPart(rootfs, at);
    if (missing === undefined) return resolveInRoot(rootfs, at) ?? at;
    const { parent, link, name, rest } = missing;
    // `..` in a link is followed step by step: what comes before it may be a link too.
    if (link !== undefined) at = `${link.startsWith("/") ? "" : parent}/${link}/${rest}`;
    else if (rest === "") return join(parent, name);
    else makeDirectory(rootfs, join(parent, name), owner);
  }
}

interface MissingPart {
  /** Without links. */
  readonly parent: string;
  readonly name: string;
  /** Where the part points if it is a link. */
  readonly link: string | undefined;
  /** What comes after it. */
  readonly rest: string;
}

/** The first part of a path that leads nowhere. */
function missingPart(rootfs: string, path: string): MissingPart | undefined {
  const parts = path.split("/").filter((part) => part !== "");
  let parent = "/";
  for (const [i, name] of parts.entries()) {
    const found = name === ".." ? dirname(parent) : resolveInRoot(rootfs, join(parent, name));
    if (found === undefined)
      return { parent, name, link: linkAt(join(rootfs, parent, name)), rest: parts.slice(i + 1).join("/") };
    parent = found;
  }
  return undefined;
}

function linkAt(path: string): string | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true ? readlinkSync(path) : undefined;
  } catch (error) {
    if (isErrno(error, "ENOTDIR")) return undefined;
    throw error;
  }
}

function makeDirectory(rootfs: string, path: string, { uid, gid }: Owner): void {
  try {
    mkdirSync(join(rootfs, path), { mode: 0o755 });
  } catch (error) {
    if (isErrno(error, "EEXIST")) return;
    throw error;
  }
  lchownSync(join(rootfs, path), uid, gid);
}

function makeFile(rootfs: string, path: string, { uid, gid }: Owner): void {
  const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW } = constants;
  const fd = openSync(join(rootfs, path), O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW, 0o644);
  try {
    fchownSync(fd, uid, gid);
  } finally {
    closeSync(fd);
  }
}
