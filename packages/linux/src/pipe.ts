import { native } from "./native.ts";
import type { Path } from "./native.ts";

/**
 * pipe2(2): a real pipe, which a child can open again as /dev/stdout, unlike Node's socket pairs. Both ends are
 * close-on-exec.
 *
 * @param sizeBytes how much it holds before a writer has to wait, if the host permits it; 0 for the default, mostly 64 KiB
 */
export function createPipe(sizeBytes = 0): { readFd: number; writeFd: number } {
  return native.pipe(sizeBytes);
}

/** mkfifo(3) with exactly this mode, whatever the umask. Throws SystemError. */
export function makeFifo(path: Path, mode: number): void {
  native.mkfifo(path, mode);
}

/** Another fd of the same open file (F_DUPFD_CLOEXEC, fcntl(2)), to be closed separately. Throws SystemError. */
export function duplicateFd(fd: number): number {
  return native.duplicate(fd);
}

/**
 * Moves up to `maxBytes` from a pipe into a file at an offset, splice(2): even if this process is killed meanwhile,
 * each byte is in either the one or the other. Returns the number of bytes, 0 at the pipe's end (no writer has it
 * open), -1 when it is empty now. The file must not be open for appending. Throws SystemError.
 */
export function spliceToFile(pipe: number, file: number, offset: number, maxBytes: number): number {
  return native.spliceToFile(pipe, file, offset, maxBytes);
}

/**
 * close(2) for fds that this package opened (pipes, pidfds), of which fs.closeSync would warn in a worker. Those of
 * fs.openSync are for fs.closeSync. Throws SystemError.
 */
export function closeFd(fd: number): void {
  native.close(fd);
}
