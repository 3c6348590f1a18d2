import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { RunningExec } from "@keelson/runtimes/runtime.ts";
import type { Outcome } from "./exit-status.ts";
import type { ContainerStreams } from "./messages.ts";
import type { PortForward, RemoteCommand } from "./streaming-request.ts";

export interface Attachment extends ContainerStreams {
  readonly resize: (size: TerminalSize) => void;
}

/** What the streaming server's clients are connected with. fds are the caller's to close. */
export interface StreamingBackend {
  /** Runs a command to its end, which it does not throw; `started` is given its streams. Killed with all that it started when the signal aborts. */
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
