import type { Readable, Writable } from "node:stream";
import type { Outcome } from "./exit-status.ts";
import type { TerminalSizes } from "./terminal-sizes.ts";

/** Which streams an exec or attach was asked to have. */
export interface StreamChoice {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** A client of exec or attach, whichever way it came. */
export interface RemoteStreams {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** With a terminal, whose sizes the client may send. */
  readonly sizes: TerminalSizes | undefined;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
  /** Tells how it ended and closes the connection, once what was written is with the client. */
  finish(outcome: Outcome): Promise<void>;
}

/** Ends a stream and waits until it is flushed, or broken. */
export function ended(stream: Writable | undefined): Promise<void> {
  if (stream === undefined || stream.destroyed || stream.writableFinished) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once("close", resolve);
    stream.end(resolve);
  });
}
