import type { StreamingBackend } from "@keelson/streaming/backend.ts";
import type { Handlers, Logging, Machine, Records } from "../capabilities.ts";
import { attach } from "./attach.ts";
import { exec } from "./exec.ts";
import { connectToPod } from "./forward-to-pod.ts";

export function streamingBackend(
  d: Records & Handlers & Logging & Pick<Machine, "containerHost" | "host">,
): StreamingBackend {
  return {
    exec: (request, size, started, signal) => exec(d, request, { size, started }, signal),
    attach: (request, signal) => attach(d, request, signal),
    connect: (request, port, signal) => connectToPod(d, request, port, signal),
  };
}
