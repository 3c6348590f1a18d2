import { readdirSync, readlinkSync } from "node:fs";
import { ReadStream } from "node:tty";
import { isErrno } from "./errno.ts";
import { native } from "./native.ts";
import { closeFd } from "./pipe.ts";

/** Rows and columns of a terminal; 0 when not known. */
export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

/** The largest size that the kernel's 16 bits hold. */
const maxSize = 0xffff;

/**
 * A pseudoterminal, raw: bytes pass through as they are. `slaveFd` is for a child and ours to close; `stream` reads and
 * writes the other end, and ends when nobody has the slave open any more.
 */
export class Pty implements Disposable {
  readonly slaveFd: number;
  readonly stream: ReadStream;
  readonly #masterFd: number;
  #isSlaveOpen = true;
  #isClosed = false;

  /** Throws SystemError. */
  constructor() {
    const { masterFd, slaveFd } = native.openPty();
    this.slaveFd = slaveFd;
    this.#masterFd = masterFd;
    try {
      this.stream = new ReadStream(masterFd);
    } catch (error) {
      closeFd(masterFd);
      closeFd(slaveFd);
      throw error;
    }
    this.stream.on("close", () => (this.#isClosed = true));
    // EIO is how the master learns that the last slave is closed; `close` follows.
    this.stream.on("error", () => {});
  }

  /** The child has it. */
  closeSlave(): void {
    if (!this.#isSlaveOpen) return;
    this.#isSlaveOpen = false;
    closeFd(this.slaveFd);
  }

  /** TIOCSWINSZ; the kernel tells the foreground process group. Sizes beyond 16 bits are cut. Throws SystemError. */
  resize({ rows, columns }: TerminalSize): void {
    if (this.#isClosed) return;
    native.resizePty(this.#masterFd, Math.min(rows, maxSize), Math.min(columns, maxSize));
  }

  [Symbol.dispose](): void {
    this.closeSlave();
    this.stream.destroy();
  }
}

/**
 * Sets the size of the pseudoterminal whose master a child has open, as a container runtime has that of its container.
 * False when it has none, or none yet. Throws SystemError.
 */
export function resizePtyOf(child: { readonly pid: number; readonly pidfd: number }, { rows, columns }: TerminalSize): boolean {
  try {
    const dir = `/proc/${child.pid}/fd`;
    const fd = readdirSync(dir).find((fd) => readlinkSync(`${dir}/${fd}`).endsWith("/ptmx"));
    if (fd === undefined) return false;
    native.resizePtyOf(child.pidfd, Number(fd), Math.min(rows, maxSize), Math.min(columns, maxSize));
    return true;
  } catch (error) {
    // It ended, or has closed it meanwhile.
    if (isErrno(error, "ENOENT", "ESRCH", "EBADF")) return false;
    throw error;
  }
}
