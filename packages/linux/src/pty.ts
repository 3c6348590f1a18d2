import { ReadStream } from "node:tty";
import { native } from "./native.ts";
import { closeFd, duplicateFd } from "./pipe.ts";

/** Rows and columns of a terminal; 0 when unknown. */
export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

/** The largest size that the kernel's 16 bits hold. */
const maxSize = 0xffff;

/**
 * A terminal's output and input as a stream over its master's fd, which the stream takes over. It closes when no
 * process has the terminal open any more. Throws SystemError, having closed the fd.
 */
export function terminalStream(fd: number): ReadStream {
  let stream: ReadStream;
  try {
    stream = new ReadStream(fd);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  // The master gets EIO when the terminal is closed; `close` follows.
  return stream.on("error", () => {});
}

/** Owns the master of a pseudoterminal. The terminal exists for as long as one of its master's fds is open. */
export class TerminalMaster implements Disposable {
  readonly #fd: number;
  #isOpen = true;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Another fd of the master, for `terminalStream`. Throws SystemError. */
  duplicate(): number {
    return duplicateFd(this.#fd);
  }

  /** TIOCSWINSZ; the kernel signals the foreground process group. Sizes are limited to 16 bits. Throws SystemError. */
  resize({ rows, columns }: TerminalSize): void {
    if (this.#isOpen) native.resizePty(this.#fd, Math.min(rows, maxSize), Math.min(columns, maxSize));
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeFd(this.#fd);
  }
}

/** A pseudoterminal with both ends; `slaveFd` is for a child. */
export class Pty implements Disposable {
  readonly slaveFd: number;
  readonly master: TerminalMaster;
  #isSlaveOpen = true;

  /**
   * Throws SystemError.
   *
   * @param mode `raw`: bytes pass unchanged. `cooked`: it echoes and edits lines, like one that a person uses.
   */
  constructor(mode: "raw" | "cooked" = "raw") {
    const { masterFd, slaveFd } = native.openPty(mode === "raw");
    this.slaveFd = slaveFd;
    this.master = new TerminalMaster(masterFd);
  }

  /** To be called once the child has it. */
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
