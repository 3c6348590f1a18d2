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
    signal.throwIfAborted();
    using waiting = new DisposableStack();
    const gaveUp = Promise.withResolvers<never>();
    const late = () => gaveUp.reject(noAnswer(paths, this.#timeoutMs));
    const timer = setTimeout(late, this.#timeoutMs);
    waiting.defer(() => clearTimeout(timer));
    const leave = () => gaveUp.reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    waiting.defer(() => signal.removeEventListener("abort", leave));
    return await Promise.race([this.#join(paths, makeMissing), gaveUp.promise]);
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

export function noAnswer(paths: readonly string[], timeoutMs: number): StatusError {
  const several = paths.length === 1 ? `host path ${paths[0]}` : `one of the host paths ${paths.join(", ")}`;
  return new StatusError(
    Code.DeadlineExceeded,
    `${several} did not answer within ${timeoutMs / 1000} s; is it on a network file system whose server is gone?`,
  );
}
