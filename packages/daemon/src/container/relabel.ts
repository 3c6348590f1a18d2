import { closeSync, constants, type Dirent, openSync, readdirSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { lsetxattr } from "@keelson/linux/file.ts";

/** Where SELinux keeps a file's label (xattr(7)). */
export const labelAttribute = "security.selinux";

/** What a machine needs under labels of its own: relabelled, it would not boot any more. Those who relabel for Docker and Podman refuse the like. */
const ofTheMachine = new Set(["/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log"]);

/**
 * Gives a file, or a directory with all in it, a label. Follows no link: directories are held open while what is in
 * them is labelled, so nobody who may write there can lead it elsewhere. File systems without labels are left alone.
 *
 * Throws InvalidArgument for a directory that the machine itself needs.
 */
export async function relabelTree(path: string, label: string, signal: AbortSignal): Promise<void> {
  if (ofTheMachine.has(path)) throw new StatusError(Code.InvalidArgument, `mount source ${path}: it is the machine's own and must keep its SELinux labels; mount a directory in it, or leave out selinux_relabel`);
  const value = Buffer.from(`${label}\0`);
  setLabel(path, value);
  await relabelBelow(path, value, { count: 0 }, signal);
}

/** How many files a turn of the event loop may take. */
const filesPerTurn = 256;

async function relabelBelow(path: string, value: Buffer, done: { count: number }, signal: AbortSignal): Promise<void> {
  const fd = openDirectory(path);
  if (fd === undefined) return;
  try {
    const held = `/proc/self/fd/${fd}`;
    for (const entry of entriesOf(held)) {
      setLabel(`${held}/${entry.name}`, value);
      done.count += 1;
      if (done.count % filesPerTurn === 0) await turn(undefined, { signal });
      if (entry.isDirectory()) await relabelBelow(`${held}/${entry.name}`, value, done, signal);
    }
  } finally {
    closeSync(fd);
  }
}

function entriesOf(held: string): Dirent[] {
  return readdirSync(held, { withFileTypes: true });
}

/** Undefined for what is no directory, or no longer one. */
function openDirectory(path: string): number | undefined {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  } catch (error) {
    if (isErrno(error, "ENOTDIR", "ENOENT", "ELOOP")) return undefined;
    throw error;
  }
}

function setLabel(path: string, value: Buffer): void {
  try {
    lsetxattr(path, labelAttribute, value);
  } catch (error) {
    if (!isErrno(error, "ENOTSUP", "EOPNOTSUPP", "ENOENT")) throw error;
  }
}
