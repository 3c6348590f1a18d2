import { Code, StatusError } from "@keelson/base/status.ts";
import type { FrameWriter } from "./frame-writer.ts";
import { dataFrameHead, initialWindowBytes, maxWindowBytes, RstStatus } from "./frame.ts";
import type { StreamTable } from "./stream-table.ts";
import type { SpdyStream } from "./stream.ts";

/** One data frame; as much as Linux reads from a pipe. */
export const maxDataBytes = 64 * 1024;

/**
 * Sends what the streams of a session have to write: one frame for each in turn, while the transport takes more and the
 * peer's windows (SPDY/3.1, 2.6.8) allow it.
 */
export class StreamSender {
  readonly #writer: FrameWriter;
  readonly #streams: StreamTable;
  /** Streams with bytes to write, in the order of their turns. */
  readonly #waiting = new Set<SpdyStream>();
  /** What the peer lets us send on all streams together, and at first on each. */
  #sessionWindowBytes = initialWindowBytes;
  #streamWindowBytes = initialWindowBytes;
  /** Until its first frame says otherwise, the peer may have windows. */
  #hasWindows = true;
  #touchedAtMs = 0;

  constructor(writer: FrameWriter, streams: StreamTable) {
    this.#writer = writer;
    this.#streams = streams;
  }

  /** Whether the peer keeps windows, its own and ours. */
  get hasWindows(): boolean {
    return this.#hasWindows;
  }

  /** The window of a stream that is opened now, in bytes. */
  get streamWindowBytes(): number {
    return this.#streamWindowBytes;
  }

  /** When data last went out, by performance.now(). */
  get touchedAtMs(): number {
    return this.#touchedAtMs;
  }

  /** The stream has something to write, or room to write it. */
  enqueue(stream: SpdyStream): void {
    this.#waiting.add(stream);
    this.pump();
  }

  forget(stream: SpdyStream): void {
    this.#waiting.delete(stream);
  }

  /** The peer's first frame shows that it has no windows. */
  ignoreWindows(): void {
    this.#hasWindows = false;
    this.#wakeAll();
  }

  /** The peer gives each stream another window than before: those that are open change with it, below 0 if need be. */
  setStreamWindow(bytes: number): void {
    this.#hasWindows = true;
    const delta = bytes - this.#streamWindowBytes;
    this.#streamWindowBytes = bytes;
    for (const stream of this.#streams) {
      stream.sendWindowBytes += delta;
      if (stream.sendWindowBytes > maxWindowBytes) stream.reset(RstStatus.flowControlError);
    }
    this.#wakeAll();
  }

  /**
   * The peer has room for more on a stream, or with stream 0 on all together. Throws InvalidArgument when the session's
   * window gets out of bounds.
   */
  widen(streamId: number, deltaBytes: number): void {
    this.#hasWindows = true;
    if (streamId === 0) {
      this.#sessionWindowBytes += deltaBytes;
      if (deltaBytes === 0 || this.#sessionWindowBytes > maxWindowBytes)
        throw new StatusError(Code.InvalidArgument, "SPDY: the peer's session window is out of bounds");
    } else {
      const stream = this.#streams.get(streamId);
      if (stream === undefined) return;
      stream.sendWindowBytes += deltaBytes;
      if (deltaBytes === 0 || stream.sendWindowBytes > maxWindowBytes) stream.reset(RstStatus.flowControlError);
    }
    this.#wakeAll();
  }

  /** Gives each waiting stream its turn. */
  pump(): void {
    if (this.#writer.isStopped || this.#writer.needsDrain) return;
    for (const stream of this.#waiting) {
      this.#waiting.delete(stream);
      const isBlocked = !this.#sendPart(stream);
      if (!isBlocked && stream.writing !== undefined) this.#waiting.add(stream);
      if (this.#writer.needsDrain) break;
    }
  }

  /** A window has changed: streams that waited for one get a turn. */
  #wakeAll(): void {
    for (const stream of this.#streams) if (stream.writing !== undefined) this.#waiting.add(stream);
    this.pump();
  }

  /** False when the stream has to wait for a window, whose update gives it a turn again. */
  #sendPart(stream: SpdyStream): boolean {
    const { writing } = stream;
    if (writing === undefined) return true;
    const left = writing.bytes.length - writing.handedBytes;
    const room = this.#hasWindows ? Math.min(stream.sendWindowBytes, this.#sessionWindowBytes) : left;
    const length = Math.min(left, maxDataBytes, room);
    if (length <= 0 && left > 0) return false;
    const part = writing.bytes.subarray(writing.handedBytes, writing.handedBytes + length);
    stream.sendWindowBytes -= length;
    this.#sessionWindowBytes -= length;
    this.#touchedAtMs = performance.now();
    this.#writer.data(dataFrameHead(stream.id, length, false), part, stream.handed(writing, length));
    return true;
  }
}
