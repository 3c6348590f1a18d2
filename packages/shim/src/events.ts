import type { Duplex } from "node:stream";
import { Code, StatusError } from "@keelson/base/status.ts";
import { TtrpcServer } from "@keelson/ttrpc/server.ts";
import type { Services } from "@keelson/ttrpc/service.ts";
import { TaskExit, TaskOOM } from "./gen/containerd/events/task.ts";
import { ForwardRequest } from "./gen/containerd/services/events/ttrpc/v1/events.ts";
import { decodeMessage } from "./service-client.ts";

/** An event that a shim publishes. Any shim can say it of any container, so it is only a reason to ask the container's own. */
export type ShimEvent =
  | {
      readonly type: "exit";
      readonly containerId: string;
      /** The container's id, or the exec's. */
      readonly processId: string;
    }
  | { readonly type: "outOfMemory"; readonly containerId: string };

/** How large an event may be, in bytes; those that count here have some hundred. */
const maxEventBytes = 256 * 1024;

/** How many connections there may be; more are closed. A shim has one. */
const maxConnections = 4096;

/** The service to which shims publish their events. */
export class ShimEvents {
  readonly #server: TtrpcServer;
  #connections = 0;

  /** @param take must not wait, as the shim waits for it. */
  constructor(take: (event: ShimEvent, namespace: string) => void) {
    this.#server = new TtrpcServer(services(take), { maxCalls: 64, maxRequestBytes: 1024 * 1024 });
  }

  /** Serves a shim's connection, which it owns from now on. */
  accept(transport: Duplex): void {
    if (this.#connections >= maxConnections) {
      transport.destroy();
      return;
    }
    this.#connections += 1;
    void this.#server.accept(transport).closed.then(() => (this.#connections -= 1));
  }

  async close(graceMs: number): Promise<void> {
    await this.#server.close(graceMs);
  }
}

function services(take: (event: ShimEvent, namespace: string) => void): Services {
  return {
    "containerd.services.events.ttrpc.v1.Events": {
      Forward: {
        form: "unary",
        handle: async (bytes, { service, method }) => {
          if (bytes.length > maxEventBytes)
            throw new StatusError(
              Code.ResourceExhausted,
              `an event of ${bytes.length} bytes; ${maxEventBytes} are the most`,
            );
          const { envelope } = decodeForward(bytes, `${service}/${method}`);
          const event = envelope?.event === undefined ? undefined : eventOf(envelope.topic, envelope.event.value);
          if (event !== undefined) take(event, envelope!.namespace);
          return Buffer.alloc(0);
        },
      },
    },
  };
}

function decodeForward(bytes: Buffer, doing: string): ForwardRequest {
  try {
    return ForwardRequest.decode(bytes);
  } catch (error) {
    throw new StatusError(Code.InvalidArgument, `${doing}: the message is not of the method's type`, error);
  }
}

function eventOf(topic: string, bytes: Buffer): ShimEvent | undefined {
  switch (topic) {
    case "/tasks/exit": {
      const { containerId, id } = decodeMessage(TaskExit, bytes, maxEventBytes, topic);
      return { type: "exit", containerId, processId: id };
    }
    case "/tasks/oom":
      return { type: "outOfMemory", containerId: decodeMessage(TaskOOM, bytes, maxEventBytes, topic).containerId };
    default:
      return undefined;
  }
}
