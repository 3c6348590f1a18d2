import type { Attachment } from "@keelson/streaming/backend.ts";
import type { RemoteCommand } from "@keelson/streaming/streaming-request.ts";
import type { Handlers, Logging, Records } from "../capabilities.ts";
import { runtimeOf } from "../container/runtime-container.ts";
import { stillRunning } from "./running-container.ts";

type Attach = Extract<RemoteCommand, { is: "attach" }>;

/** Attaches to a running container's streams. Throws NotFound, FailedPrecondition or what the runtime throws. */
export async function attach(
  d: Pick<Records, "containers"> & Handlers & Logging,
  { containerId }: Attach,
  signal: AbortSignal,
): Promise<Attachment> {
  const record = stillRunning(d, containerId);
  const { runtime, container } = runtimeOf(d, record);
  const { stdin, stdinOnce, tty } = record.config;
  return {
    fd: await runtime.attach(container, signal),
    stdin,
    stdinOnce,
    tty,
    resize: (size) =>
      void runtime
        .resizeTerminal(container, size)
        .catch((error: unknown) =>
          d.log.debug({ id: containerId, err: error }, "the terminal of a container cannot be resized"),
        ),
  };
}
