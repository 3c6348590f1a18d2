import { closeSync, constants, fstatSync, lstatSync, openSync, readlinkSync, readSync } from "node:fs";
import { join } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";

/** How many links path_resolution(7) allows in one path. */
const maxLinks = 40;

/**
 * Reads a file of a container's root file system and resolves links as a process in the container would: an absolute
 * one begins at `root`, and `..` stops there. Only for a root that nobody else changes in the meantime, such as that of
 * a container that has not started.
 *
 * Undefined when there is no such file. Throws InvalidArgument for more than `maxBytes`, for anything but a regular
 * file and for too many links.
 */
export function readRootFile(root: string, path: string, maxBytes: number): string | undefined {
  const resolved = resolveInRoot(root, path);
  if (resolved === undefined) return undefined;
  // O_NONBLOCK: a FIFO in place of the file must not hang the daemon.
  const fd = openSync(join(root, resolved), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const { size } = checkRegular(fd, path, maxBytes);
    const buffer = Buffer.alloc(size);
    return buffer.toString("utf8", 0, readSync(fd, buffer, 0, size, 0));
  } finally {
    closeSync(fd);
  }
}

function checkRegular(fd: number, path: string, maxBytes: number): { size: number } {
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw new StatusError(Code.InvalidArgument, `${path} of the image is not a regular file`);
  if (stat.size > maxBytes)
    throw new StatusError(
      Code.InvalidArgument,
      `${path} of the image has ${stat.size} bytes; at most ${maxBytes} are read`,
    );
  return { size: stat.size };
}

/** The path below `root`, without links, that `path` leads to; undefined when it leads nowhere. */
export function resolveInRoot(root: string, path: string): string | undefined {
  const done: string[] = [];
  const todo = path.split("/").filter((part) => part !== "");
  for (let links = 0; todo.length > 0;) {
    const part = todo.shift()!;
    if (part === ".") continue;
    if (part === "..") {
      done.pop();
      continue;
    }
    const entry = lookUp(join(root, ...done, part));
    if (entry === undefined) return undefined;
    if (entry.link === undefined) {
      done.push(part);
      continue;
    }
    if ((links += 1) > maxLinks)
      throw new StatusError(Code.InvalidArgument, `${path} of the image leads through more than ${maxLinks} links`);
    if (entry.link.startsWith("/")) done.length = 0;
    todo.unshift(...entry.link.split("/").filter((p) => p !== ""));
  }
  return `/${done.join("/")}`;
}

/** Where the last part of a path points if it is a link; undefined when nothing exists there. */
function lookUp(path: string): { link: string | undefined } | undefined {
  try {
    return { link: lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined };
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR")) return undefined;
    throw error;
  }
}
