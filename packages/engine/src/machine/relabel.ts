import { closeSync, constants, openSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { setImmediate as turn } from "node:timers/promises";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { lgetxattr, lsetxattr } from "@keelson/linux/file.ts";

/** Where SELinux keeps a file's label (xattr(7)). */
export const labelAttribute = "security.selinux";

/**
 * Directories that must keep their own labels: relabelled, a machine would no longer boot. Docker and Podman refuse the
 * same.
 */
const machineDirectories = new Set([
  "/",
  "/bin",
  "/boot",
  "/dev",
  "/etc",
  "/home",
  "/lib",
  "/lib64",
  "/opt",
  "/proc",
  "/root",
  "/run",
  "/sbin",
  "/srv",
  "/sys",
  "/tmp",
  "/usr",
  "/var",
  "/var/lib",
  "/var/log",
]);

/**
 * Gives a file, or a directory with everything in it, a label. Follows no link: directories are held open while their
 * entries are labelled, so nobody who may write there can redirect it. Writes no label that is already right, and
 * leaves file systems without labels alone.
 *
 * Throws InvalidArgument for a directory that the machine itself needs, FailedPrecondition when a label cannot be
 * written.
 */
export async function relabelTree(path: string, label: string, signal: AbortSignal): Promise<void> {
  if (machineDirectories.has(path))
    throw new StatusError(
      Code.InvalidArgument,
      `mount source ${path}: it belongs to the machine and must keep its SELinux labels; mount a directory below it, or leave out selinux_relabel`,
    );
  const value = Buffer.from(`${label}\0`);
  try {
    setLabel(path, value);
    await relabelBelow(path, value, { count: 0 }, signal);
  } catch (error) {
    signal.throwIfAborted();
    throw new StatusError(
      Code.FailedPrecondition,
      `give ${path} the SELinux label ${label}: ${messageOf(error)}`,
      error,
    );
  }
}

/** How many files to label in one turn of the event loop. */
const filesPerTurn = 256;

async function relabelBelow(
  path: string | Buffer,
  value: Buffer,
  done: { count: number },
  signal: AbortSignal,
): Promise<void> {
  const fd = openDirectory(path);
  if (fd === undefined) return;
  try {
    const held = Buffer.from(`/proc/self/fd/${fd}/`);
    // As bytes: names need not be UTF-8.
    for (const entry of await readdir(held, { withFileTypes: true, encoding: "buffer" })) {
      const inside = Buffer.concat([held, entry.name]);
      setLabel(inside, value);
      done.count += 1;
      if (done.count % filesPerTurn === 0) await turn(undefined, { signal });
      if (entry.isDirectory()) await relabelBelow(inside, value, done, signal);
    }
  } finally {
    closeSync(fd);
  }
}

/** Undefined for what is not a directory, or no longer one. */
function openDirectory(path: string | Buffer): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, "ENOTDIR", "ENOENT", "ELOOP")) return undefined;
    throw error;
  }
}

function setLabel(path: string | Buffer, value: Buffer): void {
  try {
    if (lgetxattr(path, labelAttribute)?.equals(value) !== true) lsetxattr(path, labelAttribute, value);
  } catch (error) {
    if (!isErrno(error, "ENOTSUP", "EOPNOTSUPP", "ENOENT")) throw error;
  }
}
