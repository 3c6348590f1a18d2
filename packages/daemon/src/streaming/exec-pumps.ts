import { Socket } from "node:net";
import type { Duplex, Readable, Writable } from "node:stream";
import { closeFd } from "@keelson/linux/pipe.ts";
import { terminalStream } from "@keelson/linux/pty.ts";
import type { ExecStreams } from "../runtime/runtime.ts";
import { drained, OutputPump } from "./output-pump.ts";
import type { RemoteStreams } from "./remote-streams.ts";

/** Copies between a command's streams, whose fds it owns, and its client. */
export class ExecPumps implements Disposable {
  readonly #ours = new DisposableStack();
  readonly #outputs: readonly OutputPump[];

  /** `onStdinClosed` is told when the command's input has come to its end, which it does at once for a client that has none. */
  constructor(streams: ExecStreams, client: Pick<RemoteStreams, "stdin" | "stdout" | "stderr">, onStdinClosed: () => void = () => {}) {
    if (streams.is === "terminal") {
      const terminal = this.#own(terminalStream(streams.master));
      // On a terminal the end of input is a key, not a state.
      if (client.stdin !== undefined) feed(client.stdin, terminal, false);
      this.#outputs = [new OutputPump(terminal, client.stdout)];
      return;
    }
    const stdout = this.#own(new Socket({ fd: streams.stdout, readable: true, writable: false }));
    const stderr = this.#own(new Socket({ fd: streams.stderr, readable: true, writable: false }));
    this.#outputs = [new OutputPump(stdout, client.stdout), new OutputPump(stderr, client.stderr)];
    if (client.stdin === undefined) {
      closeFd(streams.stdin);
      onStdinClosed();
      return;
    }
    const stdin = this.#own(new Socket({ fd: streams.stdin, readable: false, writable: true }));
    stdin.once("close", onStdinClosed);
    feed(client.stdin, stdin, true);
  }

  /** After the command's end: until all that it has written is copied, or the signal aborts. */
  drained(signal: AbortSignal): Promise<void> {
    return drained(this.#outputs, signal);
  }

  [Symbol.dispose](): void {
    this.#ours.dispose();
  }

  #own<S extends Duplex>(stream: S): S {
    return this.#ours.adopt(stream, (stream) => void stream.destroy());
  }
}

/** Copies a client's input as fast as the command takes it. What the command does not want is read and thrown away. */
function feed(source: Readable, sink: Writable, endsSink: boolean): void {
  sink.on("error", () => sink.destroy());
  sink.on("close", () => {
    source.off("data", onData);
    source.resume();
  });
  const onData = (bytes: Buffer): void => {
    if (!sink.destroyed && !sink.write(bytes)) source.pause();
  };
  sink.on("drain", () => source.resume());
  source.on("data", onData);
  if (endsSink) source.once("end", () => sink.end());
}
