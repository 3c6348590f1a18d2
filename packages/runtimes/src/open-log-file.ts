import { closeSync, constants, fstatSync, lstatSync, openSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { makeDirectories } from "@keelson/linux/make-directories.ts";

/**
 * Opens a log for appending, and makes it and its directory where they are missing. Only a regular file will do: a link
 * could lead to any file of the host, and a FIFO would hold up whoever writes. Throws FailedPrecondition for anything
 * else that is at the path, and what open(2) says.
 *
 * @param flags more of open(2)'s.
 */
export function openLogFile(path: string, flags = constants.O_APPEND): number {
  makeDirectories(dirname(path), 0o755);
  const { O_WRONLY, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  let fd: number;
  try {
    // Without O_NONBLOCK the open of a FIFO waits for a reader.
    fd = openSync(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | flags, 0o640);
  } catch (error) {
    if (isErrno(error, "ELOOP", "ENXIO", "EISDIR")) throw noLogFile(path, error);
    throw error;
  }
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  throw noLogFile(path);
}

/** A log file that can be made now; removed when the monitor has not taken it over. */
export interface ReadyLogFile extends Disposable {
  /** The monitor has the file at its place. */
  taken(): void;
}

/**
 * Makes the file that conmon is about to open when it is told to reopen a log: `PATH.tmp`, which it renames to the log's
 * path. conmon ends, and its container with it, when it cannot open or rename it, so it is told only when that is certain.
 * Throws as openLogFile.
 */
export function readyLogFile(path: string): ReadyLogFile {
  const temporary = `${path}.tmp`;
  if (lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true) throw noLogFile(path);
  closeSync(openLogFile(temporary));
  let isTaken = false;
  return {
    taken: () => void (isTaken = true),
    [Symbol.dispose]() {
      if (!isTaken) rmSync(temporary, { force: true });
    },
  };
}

function noLogFile(path: string, cause?: unknown): StatusError {
  return new StatusError(
    Code.FailedPrecondition,
    `log ${path}: something else than a regular file is there, such as a link, a FIFO or a directory; remove it`,
    cause,
  );
}
