import { readFileSync } from "node:fs";
import { isErrno } from "./errno.ts";
import { builtFile, native } from "./native.ts";
import { closeFd } from "./pipe.ts";
import { type Child, spawn, type SpawnOptions } from "./spawn.ts";

/**
 * A program of ours that is executed from a copy in memory that nobody can change (native/sealed.c). All its processes
 * share the copy, which lasts as long as they do; it is made when the first is started.
 */
export class SealedProgram {
  readonly #name: string;
  #fd: number | undefined;

  /** @param name of a program that build.mjs built. */
  constructor(name: string) {
    this.#name = name;
  }

  /**
   * Starts it, as spawn does. A container that has got hold of the copy can make it impossible to execute, by its mode
   * or by keeping it open for writing; then there is a new one. Throws SystemError.
   */
  spawn(options: Omit<SpawnOptions, "file">): Child {
    const sources = [
      ...(this.#fd === undefined ? [] : [() => this.#fd!]),
      () => this.#copy(true),
      () => this.#copy(false),
    ];
    for (const [index, source] of sources.entries()) {
      try {
        return spawn({ ...options, file: `/proc/${process.pid}/fd/${source()}` });
      } catch (error) {
        if (index === sources.length - 1 || !isErrno(error, "EACCES", "EPERM", "ETXTBSY")) throw error;
      }
    }
    throw new Error("unreachable: the last attempt returns or throws");
  }

  #copy(isMemfd: boolean): number {
    const fd = native.sealedFile(this.#name, readFileSync(builtFile(this.#name)), isMemfd);
    if (this.#fd !== undefined) closeFd(this.#fd);
    this.#fd = fd;
    return fd;
  }
}
