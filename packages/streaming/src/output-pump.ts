import type { Readable, Writable } from "node:stream";
import type { Take } from "./byte-source.ts";

/**
 * Copies what a process writes to where a client reads it, as fast as the client takes it. Neither end is closed: the
 * process may leave the source open to others for good, and a client may be told more.
 */
export class OutputPump<S extends Readable = Readable> {
  /** What is read. */
  readonly source: S;
  /** Resolves when the source has ended, or its reader has gone. */
  readonly done: Promise<void>;
  #movedBytes = 0;
  #waiting = 0;

  /**
   * @param open begins to read; see byte-source.ts.
   * @param sink undefined: what comes is thrown away.
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
    // Without a reader a process gets SIGPIPE or EPIPE, as it would in a shell.
    sink?.once("close", () => source.destroy());
    if (sink?.destroyed === true) source.destroy();
  }

  get movedBytes(): number {
    return this.#movedBytes;
  }

  /** Whether it is the client that has to take something before more can come. */
  get isBlocked(): boolean {
    return this.#waiting > 0;
  }
}

/** How long a source may be still after its process has ended before it counts as empty, in ms. */
const stillMs = 100;
const lookMs = 10;

/** More than what a pipe, 1 MiB at most without privileges (pipe(7)), and our own buffers hold: it came after the process had ended, from somebody else. */
const maxPipeBytes = 2 * 1024 * 1024;

/**
 * Waits, after the process has ended, until all that it has written is copied: until the sources end, or, when other
 * processes have them open, until nothing more comes. A client that does not read is waited for.
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
