import { native } from "./native.ts";
import { closeFd } from "./pipe.ts";
import { Poll, pollReadable } from "./poll.ts";
import { UnixListener } from "./unix-listener.ts";

/** A unix socket over which a container runtime hands out the master of a terminal that it has made (`--console-socket`). */
export class ConsoleSocket implements Disposable {
  /** For the runtime: short, wherever the directory is. It leads through us, for as long as this is not disposed of. */
  readonly path: string;
  /** Resolves with the master's fd, which is then the caller's; with undefined when none can be had. */
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

  /** Takes what the runtime has sent by now: its end may be known before the event loop looks here. */
  look(): void {
    this.#guarded(() => {
      if (this.#peer < 0) this.#accept();
      if (this.#peer >= 0) this.#receive();
    });
  }

  /** Without an fd to spare there is no terminal. */
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
