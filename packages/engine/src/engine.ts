import type { Log } from "@keelson/base/log.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { StreamingBackend } from "@keelson/streaming/backend.ts";
import { type Calls, createHandlers } from "./calls/handlers.ts";
import type { Deps } from "./deps.ts";
import { joinParts, type Parts } from "./join-parts.ts";
import { openParts, type Surroundings } from "./open-parts.ts";
import { killLeftovers } from "./recovery/leftover-tools.ts";
import { recover } from "./recovery/recovery.ts";
import type { EngineSettings } from "./settings.ts";
import type { StatsCollector } from "./stats/collector.ts";
import { streamingBackend } from "./streams/streaming-backend.ts";
import { noTally } from "./tally.ts";

/**
 * Pods and containers of one root, with the CRI's calls as plain functions: no gRPC, no socket. Call recover() before
 * the first call. Closing the engine leaves containers running; the next engine of the same root finds them.
 */
export class Engine implements AsyncDisposable {
  /** The calls by their names, such as `runPodSandbox(request, signal)`. They throw StatusErrors. */
  readonly calls: Calls;
  /** The streams of containers, for a streaming server. */
  readonly streams: StreamingBackend;
  /** Its parts, for programs that show what it is doing. */
  readonly deps: Deps;
  readonly #stats: StatsCollector;
  readonly #closing: AsyncDisposableStack;

  /** @param closing is disposed of with the engine. */
  constructor(parts: Parts, closing: AsyncDisposableStack) {
    const deps = joinParts(parts);
    this.deps = deps;
    this.calls = createHandlers(deps);
    this.streams = streamingBackend(deps);
    this.#stats = deps.stats;
    this.#closing = closing;
  }

  /**
   * Makes the records and the machine agree, whatever happened since the last engine ended (see recovery.ts). Then
   * starts sampling stats.
   */
  async recover(): Promise<void> {
    await killLeftovers(this.deps);
    await recover(this.deps);
    this.#stats.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stats.close();
    await this.#closing.disposeAsync();
  }
}

/**
 * Opens the engine of a root for this process. Throws FailedPrecondition when another process has that root, or the
 * machine lacks something that it needs; then it holds nothing.
 */
export async function openEngine(
  settings: EngineSettings,
  surroundings: Partial<Surroundings> & { readonly log: Log },
): Promise<Engine> {
  await using closing = new AsyncDisposableStack();
  const parts = await openParts(settings, { tally: noTally, streaming: noStreaming, ...surroundings }, closing);
  return new Engine(parts, closing.move());
}

/** For a program that serves no URLs: it can use the streams themselves. */
const noStreaming: Surroundings["streaming"] = {
  urlFor: () =>
    Promise.reject(
      new StatusError(
        Code.Unimplemented,
        "this program serves no URLs for streams; use ExecSync, or the engine's streams",
      ),
    ),
};
