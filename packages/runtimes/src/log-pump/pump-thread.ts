import { Worker } from "node:worker_threads";
import type { Log } from "@keelson/base/log.ts";
import { StatusError, wrapError } from "@keelson/base/status.ts";
import type { FromPump, PumpCall, PumpedContainer, ToPump } from "./messages.ts";

/** In a bundled daemon the worker's program lies beside the bundle. */
const program = new URL(import.meta.url.endsWith(".ts") ? "./pump-worker.ts" : "./pump-worker.js", import.meta.url);

/** The thread that copies the streams of the shims' containers, so that gRPC never waits for them. It starts with the first container. */
export class PumpThread {
  readonly #log: Log;
  readonly #onStdinClosed: (id: string) => void;
  readonly #containers = new Map<string, PumpedContainer>();
  readonly #calls = new Map<number, { resolve: () => void; reject: (error: Error) => void }>();
  #worker: Worker | undefined;
  #lastCall = 0;

  constructor(log: Log, onStdinClosed: (id: string) => void) {
    this.#log = log;
    this.#onStdinClosed = onStdinClosed;
  }

  has(id: string): boolean {
    return this.#containers.has(id);
  }

  /** Copies the streams of a container from now on, if that is not being done already. Throws Internal with what prevents it. */
  async open(container: PumpedContainer): Promise<void> {
    if (this.#containers.has(container.id)) return;
    this.#containers.set(container.id, container);
    try {
      await this.#call({ is: "open", container }, `open the streams of container ${container.id}`);
    } catch (error) {
      this.#containers.delete(container.id);
      throw error;
    }
  }

  /** The thread closes the fd. */
  async attach(id: string, fd: number): Promise<void> {
    await this.#call({ is: "attach", id, fd }, `attach to container ${id}`);
  }

  async reopenLog(id: string): Promise<void> {
    await this.#call({ is: "reopen", id }, `reopen the log of container ${id}`);
  }

  /** Copies until the streams end, or until nothing comes for that long; then closes them. */
  async close(id: string, stillMs: number): Promise<void> {
    if (!this.#containers.has(id)) return;
    await this.#call({ is: "close", id, stillMs }, `close the streams of container ${id}`);
    this.#containers.delete(id);
  }

  #call(call: PumpCall, doing: string): Promise<void> {
    this.#worker ??= this.#start();
    const number = (this.#lastCall += 1);
    return new Promise((resolve, reject) => {
      this.#calls.set(number, {
        resolve,
        reject: (error) => reject(wrapError(doing, error)),
      });
      this.#post({ call: number, ...call });
    });
  }

  #post(message: ToPump): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- that is for windows of a browser
    this.#worker?.postMessage(message);
  }

  #start(): Worker {
    const worker = new Worker(program);
    worker.unref();
    worker.on("message", (message: FromPump) => this.#take(message));
    worker.on("error", (error) =>
      this.#log.error(
        { err: error },
        "the thread that writes the logs of the shims' containers has failed; starting it again",
      ),
    );
    worker.on("exit", () => {
      this.#worker = undefined;
      for (const { reject } of this.#calls.values()) reject(new Error("the thread has ended"));
      this.#calls.clear();
      for (const container of this.#containers.values()) {
        this.#call({ is: "open", container }, `open the streams of container ${container.id}`).catch((error: unknown) =>
          this.#log.error({ err: error }, "cannot copy the streams of a container"),
        );
      }
    });
    return worker;
  }

  #take(message: FromPump): void {
    switch (message.is) {
      case "done": {
        const call = this.#calls.get(message.call);
        this.#calls.delete(message.call);
        if (message.error === undefined) call?.resolve();
        else call?.reject(new StatusError(message.error.code, message.error.message));
        return;
      }
      case "stdin closed":
        return this.#onStdinClosed(message.id);
      case "warning":
        return this.#log.warn({ containerId: message.id }, message.text);
    }
  }
}
