import type { Readable, Writable } from "node:stream";
import type { Take } from "./byte-source.ts";

/**
 * Copies what a process writes to its client, as fast as the client reads it. Closes neither end: other processes may
 * keep the source open forever, and more may follow for the client.
 */
export class OutputPump<S extends Readable = Readable> {
  /** The stream that is read. */
  readonly source: S;
  /** Resolves when the source has ended, or its reader has gone. */
  readonly done: Promise<void>;
  #movedBytes = 0;
  #waiting = 0;

  /**
   * @param open starts to read; see byte-source.ts.
   * @param sink undefined: what comes is discarded.
   */
  constructor(open: (take: Take) => S, sink: Writable | undefined) {
    const source = open((bytes, done) => {
      this.#movedBytes += bytes.length;
      if (sink === undefined) {
        done();
        return;
      }
      this.#waiting += 1;
      sink.write(bytes, () => {
        this.#waiting -= 1;
        done();
      });
    });
    this.source = source;
    source.on("error", () => source.destroy());
    this.done = new Promise((resolve) => void source.once("close", resolve));
    // When its reader is gone, the process gets SIGPIPE or EPIPE, as it would in a shell.
    sink?.once("close", () => source.destroy());
    if (sink?.destroyed === true) source.destroy();
  }

  get movedBytes(): number {
    return this.#movedBytes;
  }

  /** Whether the client has to read something before more can come. */
  get isBlocked(): boolean {
    return this.#waiting > 0;
  }
}

/** How long a source has to be quiet after its process has ended to count as empty, in ms. */
const stillMs = 100;
const lookMs = 10;

/**
 * More than a pipe (at most 1 MiB without privileges, pipe(7)) and our buffers hold: whatever exceeds this was written
 * by another process, after the command had ended.
 */
const maxPipeBytes = 2 * 1024 * 1024;

/**
 * Waits, after the process has ended, until all that it has written is copied: until the sources end or, if other
 * processes have them open, until nothing more comes. Waits also for a client that does not read.
 */
export async function drained(pumps: readonly OutputPump[], signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const sources = pumps.map((pump) => ({
    pump,
    bytesAtEnd: pump.movedBytes,
    bytes: pump.movedBytes,
    stillSinceMs: performance.now(),
  }));
  const timer = setInterval(() => {
    const nowMs = performance.now();
    for (const source of sources) {
      const { movedBytes, isBlocked } = source.pump;
      if (movedBytes !== source.bytes || isBlocked) source.stillSinceMs = nowMs;
      source.bytes = movedBytes;
    }
    if (
      sources.every(
        (source) => nowMs - source.stillSinceMs >= stillMs || source.bytes - source.bytesAtEnd > maxPipeBytes,
      )
    )
      resolve();
  }, lookMs);
  const onAbort = () => resolve();
  signal.addEventListener("abort", onAbort, { once: true });
  await Promise.race([Promise.all(pumps.map((pump) => pump.done)), promise]);
  clearInterval(timer);
  signal.removeEventListener("abort", onAbort);
}
