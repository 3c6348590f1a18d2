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

/** How long after its thread has broken down the server is started again, in ms. */
const restartMs = 500;

/** The server on whose URLs exec, attach and port-forward are answered. It has a thread of its own, which gRPC never waits for. */
export class StreamingServer {
  readonly #o: StreamingOptions;
  readonly #tokens = new Tokens<StreamingRequest>(() => performance.now());
  #thread: StreamingThread | undefined;
  #url: string | undefined;
  #problem = "it is not started yet";
  #restart: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: StreamingOptions) {
    this.#o = options;
  }

  /** Listens. Does not throw when it cannot: the node can run pods without it, and each URL that is asked for says why there is none. */
  async listen(backend: StreamingBackend): Promise<void> {
    const { address, port, tls, idleTimeoutMs, creationTimeoutMs, log } = this.#o;
    const claim = (kind: StreamingRequest["is"], token: string) => this.#tokens.take(token, (request) => request.is === kind);
    const thread = new StreamingThread({ backend, claim, log });
    this.#thread = thread;
    void thread.ended.then((error) => this.#ended(thread, backend, error));
    try {
      const { url } = await thread.listen({ address, port, tls, idleTimeoutMs, creationTimeoutMs });
      if (this.#isClosed) return;
      this.#url = url;
      log.info({ url }, "serving exec, attach and port-forward");
    } catch (error) {
      if (this.#isClosed || this.#thread !== thread) return;
      this.#thread = undefined;
      this.#problem = `${address} port ${port}: ${messageOf(error)}; free the address, or change [streaming] in the configuration`;
      log.error({ address, port, err: error }, "exec, attach and port-forward cannot be served; free the address, or change [streaming]");
      await thread.close(0);
    }
  }

  /** A URL that is good for a minute and one client. Throws ResourceExhausted, or Unavailable when the server does not listen. */
  urlFor(request: StreamingRequest): string {
    if (this.#url === undefined) throw new StatusError(Code.Unavailable, `the streaming server of keelsond does not listen: ${this.#problem}`);
    return `${this.#url}/${request.is}/${this.#tokens.add(request)}`;
  }

  /** Takes no new clients, ends those that are there, and drops what is left of them after `graceMs`. */
  async close(graceMs: number): Promise<void> {
    this.#isClosed = true;
    this.#url = undefined;
    this.#problem = "it is being stopped";
    clearTimeout(this.#restart);
    const thread = this.#thread;
    this.#thread = undefined;
    await thread?.close(graceMs);
  }

  /** Only what broke down is started again. */
  #ended(thread: StreamingThread, backend: StreamingBackend, error: Error | undefined): void {
    if (thread !== this.#thread) return;
    this.#thread = undefined;
    this.#url = undefined;
    this.#problem = "its thread has broken down and is started again";
    this.#o.log.error({ err: error }, "the streaming server's thread has broken down: streams have ended, and it is started again");
    this.#restart = setTimeout(() => void this.listen(backend), restartMs);
  }
}
