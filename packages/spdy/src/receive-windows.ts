import type { Duplex } from "node:stream";
import type { FrameWriter } from "./frame-writer.ts";
import { initialWindowBytes, RstStatus, settingsFrame, windowUpdateFrame } from "./frame.ts";
import type { StreamTable } from "./stream-table.ts";
import type { SpdyStream } from "./stream.ts";

/** How often a connection that is not read is probed, in ms. */
const probeMs = 10_000;

interface Window {
  readonly wholeBytes: number;
  /** Bytes that were read and not given back to the peer yet. */
  owedBytes: number;
  /** Whether an update of it is on its way. */
  isUpdating: boolean;
}

export interface ReceiveLimits {
  /** What the peer may send before it is read: on one stream, and on all together. */
  readonly streamWindowBytes: number;
  readonly sessionWindowBytes: number;
  /** Whether the peer keeps windows now. */
  readonly hasWindows: () => boolean;
  /** Sends the peer something that it answers. */
  readonly probe: () => void;
}

/**
 * Bounds what has come from the peer and was not read yet: by windows (SPDY/3.1, 2.6.8), or for a peer that has none by
 * not reading its connection.
 */
export class ReceiveWindows {
  readonly #transport: Duplex;
  readonly #writer: FrameWriter;
  readonly #streams: StreamTable;
  readonly #o: ReceiveLimits;
  readonly #windows = new Map<number, Window>();
  readonly #sessionWindow: Window;
  #unreadBytes = 0;
  #isPaused = false;
  #prober: NodeJS.Timeout | undefined;

  constructor(transport: Duplex, writer: FrameWriter, streams: StreamTable, limits: ReceiveLimits) {
    this.#transport = transport;
    this.#writer = writer;
    this.#streams = streams;
    this.#o = limits;
    this.#sessionWindow = newWindow(limits.sessionWindowBytes);
  }

  /** Bytes that came and were not read yet. */
  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  /** Says how large our windows are: the first frames of a session. */
  announce(): void {
    const { streamWindowBytes, sessionWindowBytes } = this.#o;
    this.#writer.answer(settingsFrame(streamWindowBytes));
    if (sessionWindowBytes > initialWindowBytes)
      this.#writer.answer(windowUpdateFrame(0, sessionWindowBytes - initialWindowBytes));
  }

  open(streamId: number): void {
    this.#windows.set(streamId, newWindow(this.#o.streamWindowBytes));
  }

  close(streamId: number): void {
    this.#windows.delete(streamId);
  }

  stop(): void {
    clearInterval(this.#prober);
  }

  /** Data for a stream that is open. */
  received(stream: SpdyStream, data: Buffer, isFin: boolean): void {
    const { streamWindowBytes, sessionWindowBytes, hasWindows } = this.#o;
    const isOverrun =
      stream.unreadBytes + data.length > streamWindowBytes || this.#unreadBytes + data.length > sessionWindowBytes;
    if (isOverrun && hasWindows()) {
      stream.reset(RstStatus.flowControlError);
      this.dropped(data.length);
      return;
    }
    this.#unreadBytes += data.length;
    stream.received(data, isFin);
    const isFull = this.#unreadBytes >= sessionWindowBytes || stream.unreadBytes >= streamWindowBytes;
    // A peer without windows is held up by the connection itself, with all its streams. One with windows must be read
    // at all times: what gives us room to write may come next.
    if (isFull && !hasWindows() && !this.#isPaused) {
      this.#isPaused = true;
      this.#transport.pause();
      this.#prober = setInterval(() => this.#probe(), probeMs).unref();
    }
  }

  /** Data for a stream that has ended: it came out of the session's window all the same. */
  dropped(bytes: number): void {
    this.#giveBack(this.#sessionWindow, 0, bytes);
  }

  /** The stream's reader took this much. */
  consumed(stream: SpdyStream, bytes: number): void {
    this.#unreadBytes -= bytes;
    this.#giveBack(this.#sessionWindow, 0, bytes);
    const window = this.#windows.get(stream.id);
    if (window !== undefined && !stream.remoteEnded && !stream.destroyed) this.#giveBack(window, stream.id, bytes);
    if (this.#isPaused && this.#unreadBytes < this.#o.sessionWindowBytes / 2 && this.#hasRoom()) {
      this.#isPaused = false;
      clearInterval(this.#prober);
      this.#transport.resume();
    }
  }

  /** While we do not read we do not see the connection's end; a peer that is gone answers a write with a reset. */
  #probe(): void {
    if (!this.#writer.needsDrain) this.#o.probe();
  }

  #hasRoom(): boolean {
    if (this.#o.hasWindows()) return true;
    for (const stream of this.#streams) if (stream.unreadBytes >= this.#o.streamWindowBytes) return false;
    return true;
  }

  /** Updates the peer's view of a window when half of it is owed, with one frame under way at a time. */
  #giveBack(window: Window, id: number, bytes: number): void {
    window.owedBytes += bytes;
    // A peer without windows does not look at updates; and those that it has not read when it closes make TCP drop the
    // end of what it sent.
    if (!this.#o.hasWindows()) return;
    if (window.owedBytes < window.wholeBytes / 2 || window.isUpdating || this.#writer.isStopped) return;
    const deltaBytes = window.owedBytes;
    window.owedBytes = 0;
    window.isUpdating = true;
    this.#writer.answer(windowUpdateFrame(id, deltaBytes), () => {
      window.isUpdating = false;
      if (id === 0 || this.#windows.has(id)) this.#giveBack(window, id, 0);
    });
  }
}

function newWindow(wholeBytes: number): Window {
  return { wholeBytes, owedBytes: 0, isUpdating: false };
}
