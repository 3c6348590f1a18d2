import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { RunningExec } from "@keelson/runtimes/runtime.ts";
import type { Outcome } from "./exit-status.ts";
import type { ContainerStreams } from "./messages.ts";
import type { PortForward, RemoteCommand } from "./streaming-request.ts";

export interface Attachment extends ContainerStreams {
  readonly resize: (size: TerminalSize) => void;
}

/** Provides what the streaming server's clients are connected to. The caller closes the fds that it gets. */
export interface StreamingBackend {
  /**
   * Runs a command to its end, whatever that is. `started` gets its streams. The signal kills it and all its children.
   */
  exec(
    request: Extract<RemoteCommand, { is: "exec" }>,
    size: TerminalSize | undefined,
    started: (exec: RunningExec) => void,
    signal: AbortSignal,
  ): Promise<Outcome>;
  attach(request: Extract<RemoteCommand, { is: "attach" }>, signal: AbortSignal): Promise<Attachment>;
  /** Connects to a port of the pod. */
  connect(request: PortForward, port: number, signal: AbortSignal): Promise<number>;
}
