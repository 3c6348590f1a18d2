import { native } from "./native.ts";

/** poll(2)'s questions, as libuv numbers them. */
export const pollReadable = 1;
export const pollWritable = 2;

/**
 * Asks the event loop when an fd is ready; asleep until `want` says for what. The fd is the caller's, closed after this; when
 * the thread ends before, the fd is closed with it.
 */
export class Poll implements Disposable {
  readonly #handle: ReturnType<typeof native.poll>;
  #events = 0;

  constructor(fd: number, onReady: (events: number) => void) {
    this.#handle = native.poll(fd, onReady);
  }

  /** Of pollReadable and pollWritable; 0 for none. */
  want(events: number): void {
    if (events === this.#events) return;
    this.#events = events;
    native.pollEvents(this.#handle, events);
  }

  [Symbol.dispose](): void {
    this.#events = 0;
    native.pollClose(this.#handle);
  }
}
