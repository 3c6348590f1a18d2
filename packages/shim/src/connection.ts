import { setTimeout as delay } from "node:timers/promises";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import type { TtrpcClient } from "@keelson/ttrpc/client.ts";
import { connectTtrpc } from "@keelson/ttrpc/connect.ts";
import type { Bootstrap } from "./bootstrap.ts";
import { createSandboxClient, type SandboxClient } from "./sandbox-client.ts";
import { createTaskClient, type TaskClient } from "./task-client.ts";

/** A connection to a shim, with its services. */
export class ShimConnection implements Disposable {
  readonly task: TaskClient;
  readonly sandbox: SandboxClient;
  readonly #client: TtrpcClient;

  constructor(client: TtrpcClient, version: 2 | 3, namespace: string) {
    this.#client = client;
    this.task = createTaskClient(client, version, namespace);
    this.sandbox = createSandboxClient(client, namespace);
  }

  /** Resolves when it is lost or closed: with undefined when we closed it in good order, else with the reason, with which pending calls fail. */
  get closed(): Promise<StatusError | undefined> {
    return this.#client.closed;
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }
}

/** How long to wait before trying again to connect, in ms. */
const retryMs = 20;

export interface ConnectOptions {
  readonly namespace: string;
  /** How long to keep trying: a shim that was just started may not listen yet. */
  readonly patienceMs: number;
}

/** Connects to a shim. Throws Unavailable when nobody listens in time, the signal's reason when aborted. */
export async function connectShim(
  bootstrap: Bootstrap,
  { namespace, patienceMs }: ConnectOptions,
  signal: AbortSignal,
): Promise<ShimConnection> {
  const giveUpAtMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return new ShimConnection(await connectTtrpc(bootstrap.address, {}, signal), bootstrap.version, namespace);
    } catch (error) {
      if (codeOf(error) !== Code.Unavailable || performance.now() >= giveUpAtMs) throw error;
    }
    await delay(retryMs, undefined, { signal });
  }
}
