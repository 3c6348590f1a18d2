import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { ExecStreams } from "@keelson/runtimes/runtime.ts";
import type { Outcome } from "./exit-status.ts";
import type { StreamingRequest } from "./streaming-request.ts";

/**
 * The messages between the main thread, which runs what clients ask for, and the worker thread, which has their
 * connections and carries their bytes. The worker assigns the numbers in `client` and `connection`. An fd in a message
 * belongs to the worker, which closes it. Back-pressure works through the fds: no message waits for a reader of bytes.
 */

/** The streaming server's options, in the words of the configuration. */
export interface ListenOptions {
  /** An address of this machine; the unspecified address means all interfaces. */
  readonly address: string;
  /** 0 for any free port. */
  readonly port: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  /** After how long without a byte a connection is closed, in ms. */
  readonly idleTimeoutMs: number;
  /** How long a client may take to open its streams, in ms. */
  readonly creationTimeoutMs: number;
}

/** The streams of a container's main process, for an attachment. */
export interface ContainerStreams {
  /** A connected SOCK_SEQPACKET socket, from Runtime.attach. */
  readonly fd: number;
  readonly stdin: boolean;
  /** The end of the first client's input ends the container's. */
  readonly stdinOnce: boolean;
  readonly tty: boolean;
}

export type ToWorker =
  | { readonly is: "listen"; readonly options: ListenOptions }
  /** Answers `claim`; undefined for a token that is not valid. */
  | { readonly is: "claimed"; readonly client: number; readonly request: StreamingRequest | undefined }
  /** Answers `run`, and is followed by `outcome`. */
  | { readonly is: "executing"; readonly client: number; readonly streams: ExecStreams }
  /** Answers `run`. Nothing follows, because the worker itself sees the attachment's end. */
  | { readonly is: "attached"; readonly client: number; readonly container: ContainerStreams }
  /** How a command has ended. When it could not be started, this answers `run`. */
  | { readonly is: "outcome"; readonly client: number; readonly outcome: Outcome }
  /** Answers `connect` with a connected stream socket. */
  | { readonly is: "connected"; readonly client: number; readonly connection: number; readonly fd: number }
  /** Answers `connect` with a message for the client. */
  | { readonly is: "refused"; readonly client: number; readonly connection: number; readonly message: string }
  | { readonly is: "close"; readonly graceMs: number };

export type FromWorker =
  /** Answers `listen`: the server's URL without a path. */
  | { readonly is: "listening"; readonly url: string; readonly port: number }
  | { readonly is: "not listening"; readonly message: string }
  /** A client has come with a token. */
  | { readonly is: "claim"; readonly client: number; readonly kind: StreamingRequest["is"]; readonly token: string }
  /** A client of exec or attach has opened its streams. */
  | { readonly is: "run"; readonly client: number; readonly size: TerminalSize | undefined }
  | { readonly is: "resize"; readonly client: number; readonly size: TerminalSize }
  /** The fd for a command's input is closed. */
  | { readonly is: "stdin closed"; readonly client: number }
  | { readonly is: "connect"; readonly client: number; readonly connection: number; readonly port: number }
  /** The client is gone or must go: end what it has started. */
  | { readonly is: "abort"; readonly client: number; readonly message: string }
  /** Nothing more comes from this client. */
  | { readonly is: "done"; readonly client: number }
  | {
      readonly is: "log";
      readonly level: "debug" | "info" | "warn" | "error";
      readonly fields: object;
      readonly text: string;
    }
  /** Answers `close`. */
  | { readonly is: "closed" };

/** The fds that a message hands over. */
export function fdsOf(message: ToWorker): readonly number[] {
  if (message.is === "connected") return [message.fd];
  if (message.is === "attached") return [message.container.fd];
  if (message.is !== "executing") return [];
  const { streams } = message;
  if (streams.is === "terminal") return [streams.master];
  const { stdin, stdout, stderr } = streams;
  return stdin === undefined ? [stdout, stderr] : [stdin, stdout, stderr];
}
