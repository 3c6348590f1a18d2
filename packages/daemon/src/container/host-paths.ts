import { Code, StatusError } from "@keelson/base/status.ts";
import { type ResolvedPath, resolvePaths } from "@keelson/linux/resolve-paths.ts";

/** How long a file system may take to say where a path leads, in ms: an automounter that mounts it first needs some seconds. */
const answerTimeoutMs = 30_000;
const directoryMode = 0o755;

/**
 * Finds out where the sources of mounts lead, and makes the directories of those that are not there, as both peers do (a
 * kubelet's hostPath without a type counts on it). A source may be on a network file system whose server is gone, so the
 * daemon itself never touches one: a process does. A retry joins the one that still waits, so no more than one waits for
 * the same sources.
 */
export class MountSources {
  readonly #resolve: typeof resolvePaths;
  readonly #timeoutMs: number;
  readonly #underWay = new Map<string, Promise<ResolvedPath[]>>();

  /** The parameters are for tests. */
  constructor(resolve = resolvePaths, timeoutMs = answerTimeoutMs) {
    this.#resolve = resolve;
    this.#timeoutMs = timeoutMs;
  }

  /** From each path, which is absolute, to where it leads. Throws InvalidArgument, and DeadlineExceeded when a file system does not answer. */
  async resolve(paths: readonly string[], signal: AbortSignal): Promise<Record<string, string>> {
    if (paths.length === 0) return {};
    const results = await this.#answerOf(paths, signal);
    return Object.fromEntries(paths.map((path, index) => [path, leadsTo(path, results[index]!)]));
  }

  async #answerOf(paths: readonly string[], signal: AbortSignal): Promise<ResolvedPath[]> {
    signal.throwIfAborted();
    using waiting = new DisposableStack();
    const gaveUp = Promise.withResolvers<never>();
    const late = () => gaveUp.reject(noAnswer(paths, this.#timeoutMs));
    const timer = setTimeout(late, this.#timeoutMs);
    waiting.defer(() => clearTimeout(timer));
    const leave = () => gaveUp.reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    waiting.defer(() => signal.removeEventListener("abort", leave));
    return await Promise.race([this.#join(paths), gaveUp.promise]);
  }

  /** Nothing ends the process of a path that hangs but the file system's answer. */
  #join(paths: readonly string[]): Promise<ResolvedPath[]> {
    const key = paths.join("\0");
    const found = this.#underWay.get(key);
    if (found !== undefined) return found;
    const run = this.#resolve(paths, directoryMode).finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, run);
    // It may end when nobody waits any more.
    run.catch(() => {});
    return run;
  }
}

function leadsTo(path: string, result: ResolvedPath): string {
  if ("path" in result) return result.path;
  const { error } = result;
  const what = error.stage === "make" ? "is not there and cannot be made" : "cannot be followed";
  throw new StatusError(Code.InvalidArgument, `mount source ${path} ${what}: ${error.code}`, error);
}

function noAnswer(paths: readonly string[], timeoutMs: number): StatusError {
  const several = paths.length === 1 ? `mount source ${paths[0]}` : `one of the mount sources ${paths.join(", ")}`;
  return new StatusError(Code.DeadlineExceeded, `${several} does not answer for ${timeoutMs / 1000} s; is it on a network file system whose server is gone?`);
}
