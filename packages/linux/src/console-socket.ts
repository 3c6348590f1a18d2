import { native } from "./native.ts";
import { closeFd } from "./pipe.ts";
import { Poll, pollReadable } from "./poll.ts";
import { UnixListener } from "./unix-listener.ts";

/**
 * A unix socket over which a container runtime sends the master of the terminal that it creates (`--console-socket`).
 */
export class ConsoleSocket implements Disposable {
  /**
   * For the runtime: short, wherever the directory is. It leads through our /proc and is valid until this is disposed
   * of.
   */
  readonly path: string;
  /** Resolves with the master's fd, which the caller then has to close, or with undefined when none arrives. */
  readonly master: Promise<number | undefined>;
  readonly #listener: UnixListener;
  readonly #settle: (fd: number | undefined) => void;
  #poll: Poll;
  #peer = -1;
  #isDone = false;
  #isOpen = true;

  /** Listens on `name` in the directory `dir`. Throws SystemError. */
  constructor(dir: string, name: string) {
    this.#listener = new UnixListener(dir, name);
    this.path = this.#listener.path;
    const { promise, resolve } = Promise.withResolvers<number | undefined>();
    this.master = promise;
    this.#settle = resolve;
    this.#poll = new Poll(this.#listener.fd, () => this.#guarded(() => this.#accept()));
    this.#poll.want(pollReadable);
  }

  /** Receives what the runtime has sent by now: its exit may be noticed before the event loop gets here. */
  receiveNow(): void {
    this.#guarded(() => {
      if (this.#peer < 0) this.#accept();
      if (this.#peer >= 0) this.#receive();
    });
  }

  /** A failure, such as having no fd left, means that there is no terminal. */
  #guarded(step: () => void): void {
    try {
      if (!this.#isDone) step();
    } catch {
      this.#isDone = true;
      this.#poll.want(0);
      this.#settle(undefined);
    }
  }

  #accept(): void {
    this.#peer = this.#listener.accept() ?? -1;
    if (this.#peer < 0) return;
    this.#poll[Symbol.dispose]();
    this.#poll = new Poll(this.#peer, () => this.#guarded(() => this.#receive()));
    this.#poll.want(pollReadable);
  }

  #receive(): void {
    const fd = native.receiveFd(this.#peer);
    if (fd === -1) return;
    this.#isDone = true;
    this.#poll.want(0);
    if (fd >= 0) this.#settle(fd);
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#settle(undefined);
    this.#poll[Symbol.dispose]();
    if (this.#peer >= 0) closeFd(this.#peer);
    this.#listener[Symbol.dispose]();
  }
}
