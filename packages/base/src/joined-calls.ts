/**
 * Lets callers of the same operation share one run of it: a retry after a client's timeout joins
 * the run that is still under way, or starts a new one when it is over.
 *
 * The run gets a signal that aborts only when every caller has gone away, so that the first
 * caller's deadline does not take the work from a second one.
 */
export class JoinedCalls<T> {
  readonly #running = new Map<string, Run<T>>();

  /** Joins the run of `key` or starts one with `body`. Rejects with the caller's reason when its own signal aborts. */
  join(key: string, signal: AbortSignal, body: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (signal.aborted) return Promise.reject(signal.reason as Error);
    const run = this.#running.get(key) ?? this.#start(key, body);
    run.callers += 1;
    return new Promise((resolve, reject) => {
      const leave = () => {
        run.callers -= 1;
        if (run.callers === 0) {
          // Nobody may join a run that was told to stop.
          if (this.#running.get(key) === run) this.#running.delete(key);
          run.abort.abort(signal.reason);
        }
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", leave, { once: true });
      run.result.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
    });
  }

  /** How many runs are under way. */
  get size(): number {
    return this.#running.size;
  }

  #start(key: string, body: (signal: AbortSignal) => Promise<T>): Run<T> {
    const abort = new AbortController();
    const run: Run<T> = { callers: 0, abort, result: body(abort.signal) };
    this.#running.set(key, run);
    const end = () => {
      if (this.#running.get(key) === run) this.#running.delete(key);
    };
    run.result.then(end, end);
    return run;
  }
}

interface Run<T> {
  callers: number;
  abort: AbortController;
  result: Promise<T>;
}
