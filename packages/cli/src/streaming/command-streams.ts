import type { Readable, Writable } from "node:stream";
import type { ExitStatus } from "./exit-status.ts";
import type { StreamTls } from "./stream-tls.ts";

/** Which streams a command has. With a terminal there is no stderr. */
export interface WantedStreams {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** Characters and lines of a terminal. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/** The streams of a command in a container, over any transport. Disposing of it hangs up. */
export interface RemoteCommand extends Disposable {
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Whether the other side learns of stdin's end. */
  readonly hasStdinEnd: boolean;
  /** How the command ended, once all its output has come. Rejects when it was not run or the connection is lost. */
  readonly ended: Promise<ExitStatus>;
  resize(size: TerminalSize): void;
}

/** How to reach a streaming server, from the URL that the runtime gave. */
export interface StreamAddress {
  readonly url: string;
  readonly tls: StreamTls;
  readonly signal: AbortSignal;
}
