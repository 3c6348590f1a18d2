import { closeSync, constants, openSync, unlinkSync } from "node:fs";
import { isErrno } from "./errno.ts";
import { native } from "./native.ts";
import { closeFd } from "./pipe.ts";

/**
 * A unix socket for another program to connect to, in a directory whose path may be too long for a socket's address.
 */
export class UnixListener implements Disposable {
  /**
   * For the program: short, wherever the directory is. It leads through our /proc and is valid until this is disposed
   * of.
   */
  readonly path: string;
  /** Readable when a client has connected. */
  readonly fd: number;
  readonly #dirFd: number;
  readonly #file: string;

  /** Listens on `name` in the directory `dir`. Throws SystemError. */
  constructor(dir: string, name: string) {
    this.#file = `${dir}/${name}`;
    this.#dirFd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      this.fd = native.listenSocket(this.#dirFd, name);
    } catch (error) {
      closeSync(this.#dirFd);
      throw error;
    }
    this.path = `/proc/${process.pid}/fd/${this.#dirFd}/${name}`;
  }

  /** A client's connection, which the caller has to close; undefined when none has connected. Throws SystemError. */
  accept(): number | undefined {
    const fd = native.acceptSocket(this.fd);
    return fd < 0 ? undefined : fd;
  }

  [Symbol.dispose](): void {
    closeFd(this.fd);
    closeSync(this.#dirFd);
    try {
      unlinkSync(this.#file);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
  }
}
