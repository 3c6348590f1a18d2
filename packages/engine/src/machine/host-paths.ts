import { orAborted } from "@keelson/base/or-aborted.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import { type ResolvedPath, resolvePaths } from "@keelson/linux/resolve-paths.ts";

/** How long a file system may take to say where a path leads, in ms: an automounter needs some seconds to mount it. */
export const answerTimeoutMs = 30_000;
const directoryMode = 0o755;

/**
 * Finds out where host paths lead. They may be on a network file system whose server is gone, so a separate process
 * touches them, never the daemon with its one main thread and few others. A retry joins the process that still waits,
 * so that no more than one waits for the same paths.
 */
export class HostPaths {
  readonly #resolve: typeof resolvePaths;
  readonly #timeoutMs: number;
  readonly #underWay = new Map<string, Promise<ResolvedPath[]>>();

  /** The parameters are for tests. */
  constructor(resolve = resolvePaths, timeoutMs = answerTimeoutMs) {
    this.#resolve = resolve;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Where each absolute path leads, or why that is not known. With `makeMissing`, makes a directory in place of each
   * missing path. Throws DeadlineExceeded when a file system does not answer.
   */
  async resolve(paths: readonly string[], makeMissing: boolean, signal: AbortSignal): Promise<ResolvedPath[]> {
    using answer = new AnswerTime(paths, signal, this.#timeoutMs);
    return await orAborted(this.#join(paths, makeMissing), answer.signal);
  }

  /** Only the file system's answer ends a process that hangs on a path. */
  #join(paths: readonly string[], makeMissing: boolean): Promise<ResolvedPath[]> {
    const key = JSON.stringify([makeMissing, paths]);
    const found = this.#underWay.get(key);
    if (found !== undefined) return found;
    const run = this.#resolve(paths, makeMissing ? directoryMode : undefined).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, run);
    // It may fail when nobody waits for it any more.
    run.catch(() => {});
    return run;
  }
}

/** The time that file systems have to answer, in ms; disposed of when they have. */
export class AnswerTime implements Disposable {
  /** Aborts with the caller's reason, or with DeadlineExceeded when there is no answer in time. */
  readonly signal: AbortSignal;
  readonly #timer: NodeJS.Timeout;

  constructor(paths: readonly string[], signal: AbortSignal, timeoutMs = answerTimeoutMs) {
    const late = new AbortController();
    this.#timer = setTimeout(() => late.abort(noAnswer(paths, timeoutMs)), timeoutMs);
    this.signal = AbortSignal.any([signal, late.signal]);
  }

  /** Begins anew: there was a sign of life. */
  extend(): void {
    this.#timer.refresh();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

function noAnswer(paths: readonly string[], timeoutMs: number): StatusError {
  const several = paths.length === 1 ? `host path ${paths[0]}` : `one of the host paths ${paths.join(", ")}`;
  return new StatusError(
    Code.DeadlineExceeded,
    `${several} did not answer within ${timeoutMs / 1000} s; is it on a network file system whose server is gone?`,
  );
}
