import { native } from "./native.ts";
import type { Path } from "./native.ts";

/**
 * pipe2(2): a real pipe, which a child can open again as /dev/stdout, as it cannot Node's socket pairs. Both ends are
 * close-on-exec.
 *
 * @param sizeBytes what it holds before a writer has to wait, where the machine lets it; 0 for its own, 64 KiB mostly.
 */
export function createPipe(sizeBytes = 0): { readFd: number; writeFd: number } {
  return native.pipe(sizeBytes);
}

/** mkfifo(3) with exactly this mode, whatever the umask. Throws SystemError. */
export function makeFifo(path: Path, mode: number): void {
  native.mkfifo(path, mode);
}

/** Another number of the same open file (F_DUPFD_CLOEXEC, fcntl(2)), to be closed by itself. Throws SystemError. */
export function duplicateFd(fd: number): number {
  return native.duplicate(fd);
}

/**
 * Moves what a pipe has, up to `maxBytes`, into a file at an offset, splice(2): whatever ends us meanwhile, each byte is
 * then in the one or in the other. Returns how much, 0 at the pipe's end (no writer has it open), -1 when it is empty now.
 * The file must not be open for appending. Throws SystemError.
 */
export function spliceToFile(pipe: number, file: number, offset: number, maxBytes: number): number {
  return native.spliceToFile(pipe, file, offset, maxBytes);
}

/**
 * close(2) for fds that this package opened (pipes, pidfds). In a worker fs.closeSync would warn of them; fds of
 * fs.openSync are for fs.closeSync. Throws SystemError.
 */
export function closeFd(fd: number): void {
  native.close(fd);
}
