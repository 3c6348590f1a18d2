import type { Deps } from "../deps.ts";
import { attach } from "./attach.ts";
import { exec } from "./exec.ts";
import { forwardTo } from "./forward-to-pod.ts";
import type { StreamingBackend } from "./server.ts";

/** Connects the streaming server's clients with containers and pods. */
export function streamingBackend(d: Deps): StreamingBackend {
  return {
    run: (request, streams) => (request.is === "exec" ? exec(d, request, streams) : attach(d, request, streams)),
    forward: (request) => (port, client, signal) => forwardTo(d, request.podId, port, client, signal),
  };
}
