import { ReadStream } from "node:tty";
import { native } from "./native.ts";
import { closeFd, duplicateFd } from "./pipe.ts";

/** Rows and columns of a terminal; 0 when not known. */
export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

/** The largest size that the kernel's 16 bits hold. */
const maxSize = 0xffff;

/**
 * What processes write to a terminal, and what is typed into it, by its master's fd, which the stream takes over. It
 * closes when nobody has the terminal open any more. Throws SystemError; then the fd is closed.
 */
export function terminalStream(fd: number): ReadStream {
  let stream: ReadStream;
  try {
    stream = new ReadStream(fd);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  // EIO is how the master learns that the terminal is closed; `close` follows.
  return stream.on("error", () => {});
}

/** The master of a pseudoterminal, which it owns: the terminal is there for as long as one of its master's fds. */
export class TerminalMaster implements Disposable {
  readonly #fd: number;
  #isOpen = true;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Another fd of it, for `terminalStream`. Throws SystemError. */
  duplicate(): number {
    return duplicateFd(this.#fd);
  }

  /** TIOCSWINSZ; the kernel tells the foreground process group. Sizes beyond 16 bits are cut. Throws SystemError. */
  resize({ rows, columns }: TerminalSize): void {
    if (this.#isOpen) native.resizePty(this.#fd, Math.min(rows, maxSize), Math.min(columns, maxSize));
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeFd(this.#fd);
  }
}

/** A pseudoterminal of ours. `slaveFd` is for a child. */
export class Pty implements Disposable {
  readonly slaveFd: number;
  readonly master: TerminalMaster;
  #isSlaveOpen = true;

  /**
   * Throws SystemError.
   *
   * @param mode `raw`: bytes pass through as they are. `cooked`: it echoes and edits lines, as one that a person sits at.
   */
  constructor(mode: "raw" | "cooked" = "raw") {
    const { masterFd, slaveFd } = native.openPty(mode === "raw");
    this.slaveFd = slaveFd;
    this.master = new TerminalMaster(masterFd);
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
