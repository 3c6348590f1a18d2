import { closeSync, constants, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { closeFd, createPipe, makeFifo } from "@keelson/linux/pipe.ts";

/** A command's streams as FIFOs in its container's bundle, which the shim opens by their paths. */
export class ExecFifos implements Disposable {
  readonly stdin: string;
  readonly stdout: string;
  /** "" with a terminal. */
  readonly stderr: string;
  readonly #fds = new Set<number>();

  constructor(bundleDir: string, execId: string, hasTerminal: boolean) {
    const [stdin, stdout, stderr] = ["stdin", "stdout", "stderr"].map((name) =>
      join(bundleDir, `${execId}.${name}`),
    ) as [string, string, string];
    this.stdin = stdin;
    this.stdout = stdout;
    this.stderr = hasTerminal ? "" : stderr;
    for (const path of this.#paths()) makeFifo(path, 0o600);
  }

  /** Our ends, the caller's to close from now on. Reading ends wait for no writer; of a terminal stderr is at its end at once. */
  open(): { readonly stdin: number; readonly stdout: number; readonly stderr: number } {
    using undo = new DisposableStack();
    // For reading too: it can be opened before the shim has it, and writing never breaks.
    const stdin = undo.adopt(openSync(this.stdin, constants.O_RDWR | constants.O_NONBLOCK), closeSync);
    const stdout = undo.adopt(openSync(this.stdout, constants.O_RDONLY | constants.O_NONBLOCK), closeSync);
    const stderr = this.stderr === "" ? atItsEnd() : openSync(this.stderr, constants.O_RDONLY | constants.O_NONBLOCK);
    undo.move();
    for (const fd of [stdin, stdout, stderr]) this.#fds.add(fd);
    return { stdin, stdout, stderr };
  }

  /** Closes what `open` gave and nobody was given. */
  closeAll(): void {
    for (const fd of this.#fds) closeFd(fd);
    this.#fds.clear();
  }

  [Symbol.dispose](): void {
    for (const path of this.#paths()) rmSync(path, { force: true });
  }

  #paths(): string[] {
    return [this.stdin, this.stdout, this.stderr].filter((path) => path !== "");
  }
}

function atItsEnd(): number {
  const { readFd, writeFd } = createPipe();
  closeFd(writeFd);
  return readFd;
}
