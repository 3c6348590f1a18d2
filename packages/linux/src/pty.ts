import { ReadStream } from "node:tty";
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
 * The master of a pseudoterminal: `stream` reads what processes write to the terminal and types into it. It closes when
 * nobody has the terminal open any more.
 */
export class TerminalMaster implements Disposable {
  readonly stream: ReadStream;
  readonly #fd: number;

  /** Takes the fd over. Throws SystemError. */
  constructor(fd: number) {
    this.#fd = fd;
    try {
      this.stream = new ReadStream(fd);
    } catch (error) {
      closeFd(fd);
      throw error;
    }
    // EIO is how the master learns that the terminal is closed; `close` follows.
    this.stream.on("error", () => {});
  }

  /** TIOCSWINSZ; the kernel tells the foreground process group. Sizes beyond 16 bits are cut. Throws SystemError. */
  resize({ rows, columns }: TerminalSize): void {
    if (!this.stream.destroyed) native.resizePty(this.#fd, Math.min(rows, maxSize), Math.min(columns, maxSize));
  }

  [Symbol.dispose](): void {
    this.stream.destroy();
  }
}

/** A pseudoterminal of ours, raw: bytes pass through as they are. `slaveFd` is for a child. */
export class Pty implements Disposable {
  readonly slaveFd: number;
  readonly master: TerminalMaster;
  #isSlaveOpen = true;

  /** Throws SystemError. */
  constructor() {
    const { masterFd, slaveFd } = native.openPty();
    this.slaveFd = slaveFd;
    try {
      this.master = new TerminalMaster(masterFd);
    } catch (error) {
      closeFd(slaveFd);
      throw error;
    }
  }

  /** The child has it. */
  closeSlave(): void {
    if (!this.#isSlaveOpen) return;
    this.#isSlaveOpen = false;
    closeFd(this.slaveFd);
  }

  [Symbol.dispose](): void {
    this.closeSlave();
    this.master[Symbol.dispose]();
  }
}
