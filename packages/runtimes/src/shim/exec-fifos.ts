import { closeSync, constants, openSync, rmSync } from "node:fs";
import { join } from "node:path";
import { closeFd, createPipe, makeFifo } from "@keelson/linux/pipe.ts";

/** A command's streams: FIFOs in its container's bundle, which the shim opens by their paths. */
export class ExecFifos implements Disposable {
  /** "" without input. */
  readonly stdin: string;
  readonly stdout: string;
  /** "" with a terminal. */
  readonly stderr: string;
  readonly #fds = new Set<number>();

  constructor(
    bundleDir: string,
    execId: string,
    { hasInput, hasTerminal }: { readonly hasInput: boolean; readonly hasTerminal: boolean },
  ) {
    const [stdin, stdout, stderr] = ["stdin", "stdout", "stderr"].map((name) =>
      join(bundleDir, `${execId}.${name}`),
    ) as [string, string, string];
    this.stdin = hasInput ? stdin : "";
    this.stdout = stdout;
    this.stderr = hasTerminal ? "" : stderr;
    for (const path of this.#paths()) makeFifo(path, 0o600);
  }

  /**
   * Opens our ends, which the caller closes. Reading ends do not wait for a writer; with a terminal, stderr is at its
   * end at once.
   */
  open(): { readonly stdin: number | undefined; readonly stdout: number; readonly stderr: number } {
    using undo = new DisposableStack();
    // Opened for reading too: so it can be opened before the shim does, and the pipe never breaks.
    const stdin =
      this.stdin === ""
        ? undefined
        : undo.adopt(openSync(this.stdin, constants.O_RDWR | constants.O_NONBLOCK), closeSync);
    const stdout = undo.adopt(openSync(this.stdout, constants.O_RDONLY | constants.O_NONBLOCK), closeSync);
    const stderr = this.stderr === "" ? atItsEnd() : openSync(this.stderr, constants.O_RDONLY | constants.O_NONBLOCK);
    undo.move();
    for (const fd of [stdin, stdout, stderr]) if (fd !== undefined) this.#fds.add(fd);
    return { stdin, stdout, stderr };
  }

  /** Closes what `open` returned, when nobody else will. */
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
