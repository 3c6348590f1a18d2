import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import type { StreamingBackend } from "./backend.ts";
import type { ListenOptions } from "./messages.ts";
import type { StreamingRequest } from "./streaming-request.ts";
import { StreamingThread } from "./thread.ts";
import { Tokens } from "./tokens.ts";

export interface StreamingOptions extends ListenOptions {
  readonly log: Log;
}

/**
 * The server at whose URLs clients of exec, attach and port-forward connect. It has its own thread, so that gRPC never
 * waits for their bytes. The first URL starts the thread: many nodes never need one, and it takes 25 MB.
 */
export class StreamingServer {
  readonly #o: StreamingOptions;
  readonly #tokens = new Tokens<StreamingRequest>(() => performance.now());
  #backend: StreamingBackend | undefined;
  /**
   * Undefined before the first URL, and after the thread has crashed or could not listen: the next URL starts another.
   */
  #running: Promise<{ readonly thread: StreamingThread; readonly url: string }> | undefined;
  #isClosed = false;

  constructor(options: StreamingOptions) {
    this.#o = options;
  }

  /** Sets the backend; before the first URL. */
  connect(backend: StreamingBackend): void {
    this.#backend = backend;
  }

  /**
   * A URL that is valid for a minute and for one client. Throws ResourceExhausted when too many are unused, Unavailable
   * when the server cannot listen or is being stopped.
   */
  async urlFor(request: StreamingRequest): Promise<string> {
    if (this.#isClosed) throw new StatusError(Code.Unavailable, "the streaming server of keelsond is being stopped");
    const { url } = await (this.#running ??= this.#start());
    return `${url}/${request.is}/${this.#tokens.add(request)}`;
  }

  /** Accepts no new clients, ends the present ones, and drops those that are left after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.#isClosed = true;
    const running = await this.#running?.catch(() => undefined);
    await running?.thread.close(graceMs);
  }

  async #start(): Promise<{ readonly thread: StreamingThread; readonly url: string }> {
    const { address, port, tls, idleTimeoutMs, creationTimeoutMs, log } = this.#o;
    const claim = (kind: StreamingRequest["is"], token: string) =>
      this.#tokens.take(token, (request) => request.is === kind);
    const thread = new StreamingThread({ backend: this.#backend!, claim, log });
    try {
      const { url } = await thread.listen({ address, port, tls, idleTimeoutMs, creationTimeoutMs });
      log.info({ url }, "serving exec, attach and port-forward");
      void thread.ended.then((error) => this.#ended(error));
      return { thread, url };
    } catch (error) {
      this.#running = undefined;
      await thread.close(0);
      throw new StatusError(
        Code.Unavailable,
        `the streaming server of keelsond cannot listen on ${address} port ${port}: ${messageOf(error)}; free the address, or change [streaming] in the configuration`,
        error,
      );
    }
  }

  #ended(error: Error | undefined): void {
    this.#running = undefined;
    if (!this.#isClosed)
      this.#o.log.error(
        { err: error },
        "the thread of the streaming server has crashed, and all streams have ended; the next stream starts it again",
      );
  }
}
