import { Socket } from "node:net";
import type { Readable, Writable } from "node:stream";
import { closeFd } from "@keelson/linux/pipe.ts";
import type { ExecStreams } from "@keelson/runtimes/runtime.ts";
import { readFd, readTerminal } from "./byte-source.ts";
import { drained, OutputPump } from "./output-pump.ts";
import type { RemoteStreams } from "./remote-streams.ts";

/** Copies between a command's streams, whose fds it owns, and its client. */
export class ExecPumps implements Disposable {
  readonly #ours = new DisposableStack();
  readonly #outputs: readonly OutputPump[];

  /** @param onStdinClosed called when the command's input is closed: at once for a client without stdin. */
  constructor(
    streams: ExecStreams,
    client: Pick<RemoteStreams, "stdin" | "stdout" | "stderr">,
    onStdinClosed: () => void = () => {},
  ) {
    if (streams.is === "terminal") {
      const output = new OutputPump((take) => readTerminal(streams.master, take), client.stdout);
      const terminal = this.#own(output.source);
      // On a terminal the end of input is a key that is typed, and the fd stays open.
      if (client.stdin !== undefined) feed(client.stdin, terminal, false);
      this.#outputs = [output];
      return;
    }
    this.#outputs = [
      new OutputPump((take) => readFd(streams.stdout, false, take), client.stdout),
      new OutputPump((take) => readFd(streams.stderr, false, take), client.stderr),
    ];
    for (const { source } of this.#outputs) this.#own(source);
    if (streams.stdin === undefined) return;
    if (client.stdin === undefined) {
      closeFd(streams.stdin);
      onStdinClosed();
      return;
    }
    const stdin = this.#own(new Socket({ fd: streams.stdin, readable: false, writable: true }));
    stdin.once("close", onStdinClosed);
    feed(client.stdin, stdin, true);
  }

  /** After the command's end: waits until all that it has written is copied, or the signal aborts. */
  drained(signal: AbortSignal): Promise<void> {
    return drained(this.#outputs, signal);
  }

  [Symbol.dispose](): void {
    this.#ours.dispose();
  }

  #own<S extends Readable | Writable>(stream: S): S {
    return this.#ours.adopt(stream, (stream) => void stream.destroy());
  }
}

/** Copies a client's input as fast as the command takes it. When the command reads no more, the rest is discarded. */
function feed(source: Readable, sink: Writable, endsSink: boolean): void {
  sink.on("error", () => sink.destroy());
  sink.on("close", () => {
    source.off("data", onData);
    source.resume();
  });
  const onData = (bytes: Buffer): void => {
    if (sink.destroyed) return;
    // What came together is written together.
    if (sink.writableCorked === 0) {
      sink.cork();
      process.nextTick(() => sink.uncork());
    }
    if (!sink.write(bytes)) source.pause();
  };
  sink.on("drain", () => source.resume());
  source.on("data", onData);
  if (endsSink) source.once("end", () => sink.end());
}
