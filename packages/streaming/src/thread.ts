import { Worker } from "node:worker_threads";
import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { closeFd } from "@keelson/linux/pipe.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { StreamingBackend } from "./backend.ts";
import { fdsOf, type FromWorker, type ListenOptions, type ToWorker } from "./messages.ts";
import type { StreamingRequest } from "./streaming-request.ts";

/** In a bundle, the worker's program lies beside the daemon's (scripts/build.mjs). */
const program = new URL(
  import.meta.url.endsWith(".ts") ? "./streaming-worker.ts" : "./streaming-worker.js",
  import.meta.url,
);

export interface ThreadOptions {
  readonly backend: StreamingBackend;
  /** The request of a token, once. */
  readonly claim: (kind: StreamingRequest["is"], token: string) => StreamingRequest | undefined;
  readonly log: Log;
}

interface Client {
  readonly request: StreamingRequest;
  readonly abort: AbortController;
  resize?: (size: TerminalSize) => void;
  stdinClosed?: (() => void) | undefined;
}

/** A worker thread with the streaming server, and the main thread's side of what it does. */
export class StreamingThread {
  /** Resolves when the thread has ended: with the error that it threw, if it did. */
  readonly ended: Promise<Error | undefined>;
  readonly #o: ThreadOptions;
  readonly #worker: Worker;
  readonly #clients = new Map<number, Client>();
  readonly #listening = Promise.withResolvers<{ url: string; port: number }>();
  readonly #closed = Promise.withResolvers<void>();
  #hasEnded = false;

  constructor(options: ThreadOptions) {
    this.#o = options;
    const { promise, resolve } = Promise.withResolvers<Error | undefined>();
    this.ended = promise;
    // It may reject when nobody waits for it.
    this.#listening.promise.catch(() => {});
    this.#worker = new Worker(program);
    this.#worker.on("message", (message: FromWorker) => this.#take(message));
    let thrown: Error | undefined;
    this.#worker.on("error", (error) => (thrown = error as Error));
    this.#worker.on("exit", () => {
      this.#hasEnded = true;
      const reason = new StatusError(Code.Unavailable, "the streaming server's thread has ended");
      for (const { abort } of this.#clients.values()) abort.abort(reason);
      this.#clients.clear();
      this.#listening.reject(reason);
      this.#closed.resolve();
      resolve(thrown);
    });
  }

  /** Starts to listen, and returns where clients reach it. Throws Unavailable with what prevents it. */
  async listen(options: ListenOptions): Promise<{ readonly url: string; readonly port: number }> {
    this.#post({ is: "listen", options });
    return await this.#listening.promise;
  }

  /** Ends its clients, within a little more than the grace, and then the thread. */
  async close(graceMs: number): Promise<void> {
    this.#post({ is: "close", graceMs });
    const timer = setTimeout(this.#closed.resolve, graceMs + 1000);
    await this.#closed.promise;
    clearTimeout(timer);
    await this.#worker.terminate();
  }

  #post(message: ToWorker): void {
    if (this.#hasEnded) for (const fd of fdsOf(message)) closeFd(fd);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows of a browser
    this.#worker.postMessage(message);
  }

  #take(message: FromWorker): void {
    switch (message.is) {
      case "listening":
        return this.#listening.resolve(message);
      case "not listening":
        return this.#listening.reject(new StatusError(Code.Unavailable, message.message));
      case "closed":
        return this.#closed.resolve();
      case "log":
        return this.#o.log[message.level](message.fields, message.text);
      case "claim": {
        const request = this.#o.claim(message.kind, message.token);
        if (request !== undefined) this.#clients.set(message.client, { request, abort: new AbortController() });
        return this.#post({ is: "claimed", client: message.client, request });
      }
      case "run":
        return void this.#run(message.client, message.size);
      case "resize":
        return this.#clients.get(message.client)?.resize?.(message.size);
      case "stdin closed":
        return this.#clients.get(message.client)?.stdinClosed?.();
      case "connect":
        return void this.#connect(message.client, message.connection, message.port);
      case "abort":
        return this.#clients.get(message.client)?.abort.abort(new StatusError(Code.Cancelled, message.message));
      case "done":
        this.#clients.get(message.client)?.abort.abort(new StatusError(Code.Cancelled, "the client is gone"));
        this.#clients.delete(message.client);
    }
  }

  async #run(id: number, size: TerminalSize | undefined): Promise<void> {
    const { backend } = this.#o;
    const client = this.#clients.get(id);
    if (client === undefined || client.request.is === "portforward") return;
    const { request, abort } = client;
    if (request.is === "exec") {
      const outcome = await backend.exec(
        request,
        size,
        (exec) => {
          client.resize = (size) => exec.resize(size);
          client.stdinClosed = () => exec.stdinClosed?.();
          this.#post({ is: "executing", client: id, streams: exec.streams });
        },
        abort.signal,
      );
      this.#post({ is: "outcome", client: id, outcome });
      return;
    }
    try {
      const { resize, ...container } = await backend.attach(request, abort.signal);
      client.resize = resize;
      if (size !== undefined) resize(size);
      this.#post({ is: "attached", client: id, container });
    } catch (error) {
      this.#post({ is: "outcome", client: id, outcome: { is: "failed", message: messageOf(error) } });
    }
  }

  async #connect(client: number, connection: number, port: number): Promise<void> {
    const { request, abort } = this.#clients.get(client) ?? {};
    if (abort === undefined || request?.is !== "portforward") return;
    try {
      this.#post({
        is: "connected",
        client,
        connection,
        fd: await this.#o.backend.connect(request, port, abort.signal),
      });
    } catch (error) {
      this.#post({ is: "refused", client, connection, message: messageOf(error) });
    }
  }
}
