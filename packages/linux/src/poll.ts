import { native } from "./native.ts";

/** The events of poll(2), as libuv numbers them. */
export const pollReadable = 1;
export const pollWritable = 2;

/**
 * Has the event loop say when an fd is ready; nothing is waited for until `want`. The caller closes the fd after
 * disposing of this. When the thread ends first, the fd is closed with it.
 */
export class Poll implements Disposable {
  readonly #handle: ReturnType<typeof native.poll>;
  #events = 0;

  /** Throws SystemError: EPERM for a regular file, EEXIST when this thread polls the fd already. */
  constructor(fd: number, onReady: (events: number) => void) {
    this.#handle = native.poll(fd, onReady);
  }

  /**
   * Sets what to wait for, of pollReadable and pollWritable; 0 for nothing. `onReady` is called again until it changes.
   */
  want(events: number): void {
    if (events === this.#events) return;
    this.#events = events;
    native.pollEvents(this.#handle, events);
  }

  /** Waiting for this fd no longer keeps the event loop running. */
  unref(): void {
    native.pollUnref(this.#handle);
  }

  [Symbol.dispose](): void {
    this.#events = 0;
    native.pollClose(this.#handle);
  }
}
