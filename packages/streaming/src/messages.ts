import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { ExecStreams } from "@keelson/runtimes/runtime.ts";
import type { Outcome } from "./exit-status.ts";
import type { StreamingRequest } from "./streaming-request.ts";

/**
 * The messages between the main thread, which decides what becomes of clients, and the worker thread, which has their
 * connections and carries their bytes. `client` and `connection` are numbers that the worker gives. An fd goes to the
 * worker with its message and is the worker's to close from then on. Back-pressure is the fds' own business: no message
 * waits for a reader of bytes.
 */

/** Of the streaming server, in the words of the configuration. */
export interface ListenOptions {
  /** Of this machine; the unspecified ones are all interfaces. */
  readonly address: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  /** After how long without a byte a connection is closed, in ms. */
  readonly idleTimeoutMs: number;
  /** How long a client may take to open its streams, in ms. */
  readonly creationTimeoutMs: number;
}

/** A container's own streams, for an attachment. */
export interface ContainerStreams {
  /** A connected SOCK_SEQPACKET socket, as Runtime.attach has it. */
  readonly fd: number;
  readonly stdin: boolean;
  /** The end of the first client's input is the container's. */
  readonly stdinOnce: boolean;
  readonly tty: boolean;
}

export type ToWorker =
  | { readonly is: "listen"; readonly options: ListenOptions }
  /** Answers `claim`; undefined for a token that is good for nothing. */
  | { readonly is: "claimed"; readonly client: number; readonly request: StreamingRequest | undefined }
  /** Answers `run`, and is followed by `outcome`. */
  | { readonly is: "executing"; readonly client: number; readonly streams: ExecStreams }
  /** Answers `run`, and is the last word: when an attachment ends, the worker sees. */
  | { readonly is: "attached"; readonly client: number; readonly container: ContainerStreams }
  /** How a command has ended, or why there is none; answers `run` then. */
  | { readonly is: "outcome"; readonly client: number; readonly outcome: Outcome }
  /** Answers `connect` with a connected stream socket. */
  | { readonly is: "connected"; readonly client: number; readonly connection: number; readonly fd: number }
  /** Answers `connect` with a sentence for the client. */
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
  /** The client is gone, or shall be: what it had started is to end. */
  | { readonly is: "abort"; readonly client: number; readonly message: string }
  /** Nothing more comes of this client. */
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
  return streams.is === "pipes" ? [streams.stdin, streams.stdout, streams.stderr] : [streams.master];
}
