import { Code, StatusError } from "./status.ts";

/**
 * Lets callers of the same operation share one run of it: a retry after a client's timeout joins the run that is still
 * under way, or starts a new one when it is over.
 *
 * A run goes on for `lingerMs` after its last caller has gone, so that a retry finds it; then its signal aborts. It
 * also aborts, with DeadlineExceeded, after `limitMs`: otherwise callers that keep coming back would join a hung run
 * for ever.
 */
export class JoinedCalls<T> {
  readonly #running = new Map<string, Run<T>>();
  readonly #lingerMs: number;
  readonly #limitMs: number | undefined;
  readonly #maxRuns: number;

  /**
   * @param lingerMs how long a run without callers may go on, in milliseconds; 0: not at all
   * @param limitMs how long any run may take; undefined: its body takes care of that
   * @param maxRuns how many there may be at once; one more is refused with ResourceExhausted
   */
  constructor(lingerMs: number, limitMs?: number, maxRuns = 4096) {
    this.#lingerMs = lingerMs;
    this.#limitMs = limitMs;
    this.#maxRuns = maxRuns;
  }

  /** How many runs are under way. */
  get size(): number {
    return this.#running.size;
  }

  /**
   * Joins the run of `key`, or starts one with `body`, which names each stage that it enters. When the caller's own
   * signal aborts, rejects with DeadlineExceeded or Cancelled, naming the stage that the run was in, and for how long.
   */
  join(key: string, signal: AbortSignal, body: (signal: AbortSignal, stage: Stage) => Promise<T>): Promise<T> {
    if (!this.#running.has(key) && this.#running.size >= this.#maxRuns) {
      return Promise.reject(
        new TooManyRuns(`${this.#running.size} operations are under way, which is the limit; try again later`),
      );
    }
    const run = this.#running.get(key) ?? this.#start(key, body);
    if (signal.aborted) {
      this.#leaveIfLast(key, run, signal);
      return Promise.reject(abandoned(run, signal));
    }
    clearTimeout(run.linger);
    run.callers += 1;
    return new Promise((resolve, reject) => {
      const leave = () => {
        run.callers -= 1;
        this.#leaveIfLast(key, run, signal);
        reject(abandoned(run, signal));
      };
      signal.addEventListener("abort", leave, { once: true });
      run.result.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
    });
  }

  /** The runs under way, each with its stage and the time when that began (performance.now()). */
  *running(): Iterable<{ key: string; stage: string; stageSinceMs: number }> {
    for (const [key, run] of this.#running) yield { key, stage: run.stage, stageSinceMs: run.stageSinceMs };
  }

  #start(key: string, body: (signal: AbortSignal, stage: Stage) => Promise<T>): Run<T> {
    const abort = new AbortController();
    const run: Run<T> = {
      callers: 0,
      abort,
      stage: "start",
      stageSinceMs: performance.now(),
      result: undefined as never,
      linger: undefined,
    };
    const limit =
      this.#limitMs === undefined
        ? undefined
        : setTimeout(() => this.#stop(key, run, tookTooLong(this.#limitMs!)), this.#limitMs).unref();
    run.result = body(abort.signal, (name) => {
      run.stage = name;
      run.stageSinceMs = performance.now();
    });
    this.#running.set(key, run);
    const end = () => {
      clearTimeout(limit);
      clearTimeout(run.linger);
      if (this.#running.get(key) === run) this.#running.delete(key);
    };
    run.result.then(end, end);
    return run;
  }

  #leaveIfLast(key: string, run: Run<T>, signal: AbortSignal): void {
    if (run.callers > 0) return;
    if (this.#lingerMs === 0) this.#stop(key, run, signal.reason);
    else run.linger = setTimeout(() => this.#stop(key, run, signal.reason), this.#lingerMs).unref();
  }

  #stop(key: string, run: Run<T>, reason: unknown): void {
    // No caller may join a run that has to stop.
    if (this.#running.get(key) === run) this.#running.delete(key);
    run.abort.abort(reason);
  }
}

/** The limit of runs was reached, and nothing was started. */
export class TooManyRuns extends StatusError {
  constructor(message: string) {
    super(Code.ResourceExhausted, message);
  }
}

/** Names what a run is doing from now on, such as `attach network podnet`. */
export type Stage = (name: string) => void;

interface Run<T> {
  callers: number;
  abort: AbortController;
  stage: string;
  stageSinceMs: number;
  result: Promise<T>;
  linger: NodeJS.Timeout | undefined;
}

function tookTooLong(limitMs: number): StatusError {
  return new StatusError(Code.DeadlineExceeded, `it took longer than ${limitMs / 1000} s`);
}

function abandoned(run: Run<unknown>, signal: AbortSignal): StatusError {
  const isDeadline = signal.reason instanceof Error && signal.reason.name === "TimeoutError";
  const seconds = ((performance.now() - run.stageSinceMs) / 1000).toFixed(1);
  const what = isDeadline ? "the client's deadline is over" : "the client went away";
  return new StatusError(
    isDeadline ? Code.DeadlineExceeded : Code.Cancelled,
    `${what} during: ${run.stage} (running for ${seconds} s)`,
    signal.reason,
  );
}
