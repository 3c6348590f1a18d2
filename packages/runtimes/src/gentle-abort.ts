/**
 * How long a runtime may run on after its call was aborted, in ms. While it starts, crun mounts its own binary in /tmp (its
 * guard against CVE-2019-5736); killed at that point it would leave the mount for ever.
 */
export const startGraceMs = 1000;

const pollMs = 2;

/**
 * A signal that follows another one, but not before a runtime's process has started or the grace period is over. Dispose of
 * it when the process has ended.
 */
export class GentleAbort implements Disposable {
  readonly #outer: AbortSignal;
  readonly #abort = new AbortController();
  readonly #hasStarted: () => boolean;
  #timer: NodeJS.Timeout | undefined;

  constructor(outer: AbortSignal, hasStarted: () => boolean) {
    outer.throwIfAborted();
    this.#outer = outer;
    this.#hasStarted = hasStarted;
    outer.addEventListener("abort", this.#follow, { once: true });
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#outer.removeEventListener("abort", this.#follow);
  }

  readonly #follow = (): void => {
    let left = startGraceMs;
    const look = () => {
      left -= pollMs;
      if (left > 0 && !this.#hasStarted()) return;
      clearInterval(this.#timer);
      this.#abort.abort(this.#outer.reason);
    };
    this.#timer = setInterval(look, pollMs);
    look();
  };
}

/** Waits until a promise is settled, either way. */
export async function settles(promise: Promise<unknown>): Promise<void> {
  await promise.catch(() => {});
}

/** A signal to end a runtime's process after some time. Dispose of it when the process has ended by itself. */
export class RuntimeEnd implements Disposable {
  readonly #abort = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  in(graceMs: number, reason: unknown): void {
    if (graceMs === 0) return this.#abort.abort(reason);
    this.#timer = setTimeout(() => this.#abort.abort(reason), graceMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}
