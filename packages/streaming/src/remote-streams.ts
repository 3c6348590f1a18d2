import type { Readable, Writable } from "node:stream";
import type { Outcome } from "./exit-status.ts";
import type { TerminalSizes } from "./terminal-sizes.ts";

/** The streams that an exec or attach request asks for. */
export interface StreamChoice {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

/** A client of exec or attach, over any protocol. */
export interface RemoteStreams {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  /** With a terminal: the sizes that the client sends. */
  readonly sizes: TerminalSizes | undefined;
  /** Aborts when the client is gone. */
  readonly signal: AbortSignal;
  /** Sends the outcome and closes the connection, after all that was written has been sent. */
  finish(outcome: Outcome): Promise<void>;
}

/** Ends a stream, and waits until it is flushed or broken. */
export function ended(stream: Writable | undefined): Promise<void> {
  if (stream === undefined || stream.destroyed || stream.writableFinished) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once("close", resolve);
    stream.end(resolve);
  });
}
