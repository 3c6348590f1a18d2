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

  /** Resolves when it is lost or closed; undefined when we closed it and all was done, else the reason. Calls under way fail with it. */
  get closed(): Promise<StatusError | undefined> {
    return this.#client.closed;
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }
}

/** How often a socket is tried that does not listen yet, in ms. */
const retryMs = 20;

/**
 * Connects to a shim. One that was just started may not listen yet: `patienceMs` is how long it is waited for. Throws
 * Unavailable when nobody listens then, the signal's reason when aborted.
 */
export async function connectShim(
  bootstrap: Bootstrap,
  namespace: string,
  patienceMs: number,
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
