import type { Duplex } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { FrameReader } from "./frame-reader.ts";
import {
  dataFrameHead,
  type Frame,
  GoAwayStatus,
  goAwayFrame,
  initialWindowBytes,
  maxStreamId,
  maxWindowBytes,
  pingFrame,
  RstStatus,
  rstStreamFrame,
  settingsFrame,
  synReplyFrame,
  synStreamFrame,
  windowUpdateFrame,
} from "./frame.ts";
import { HeaderReader, type Headers, HeaderWriter } from "./header-block.ts";
import { resetError, SpdyStream, type StreamHost } from "./stream.ts";

export interface SessionOptions {
  /** The client opens streams with odd numbers. */
  readonly role: "client" | "server";
  /** Told of each stream that the peer opens: `reply()` accepts it, `reset()` refuses it. Without this all are refused. */
  readonly onStream?: (stream: SpdyStream) => void;
  /** How many streams the peer may have open at once; 256. More are refused. */
  readonly maxStreams?: number;
  /** What the headers of one stream may come to; 16 KiB. More end the session. */
  readonly maxHeaderBytes?: number;
  /** What the peer may send on one stream before it is read; 256 KiB, and at least 64. */
  readonly streamWindowBytes?: number;
  /** The same for all streams together; 2 MiB. */
  readonly sessionWindowBytes?: number;
  /**
   * Whether the peer's windows are kept to. "auto", unless told: not when the first frame that it sends is neither
   * SETTINGS nor WINDOW_UPDATE, until one of these comes. Kubernetes' clients and servers written in Go send neither,
   * ever, and would leave a sender waiting for good.
   */
  readonly flowControl?: "auto" | "always";
}

/** What a peer may make us answer without reading any of it. */
const maxAnswersBytes = 64 * 1024;

/** One data frame; as much as Linux reads from a pipe. */
const maxDataBytes = 64 * 1024;

/** How often a connection that is not read is tried, in ms. */
const probeMs = 10_000;

/** How long the last frames of a session may take, in ms. */
const lastFramesMs = 5000;

interface Window {
  /** Bytes read and not told to the peer yet. */
  owedBytes: number;
  isTelling: boolean;
}

/**
 * One end of a SPDY/3.1 session on any duplex stream, which it owns. It never throws by itself: `closed` resolves with
 * what ended it, and its streams fail with the same.
 */
export class SpdySession implements Disposable {
  /** Resolves when the transport is closed: undefined after a good end, else the reason. */
  readonly closed: Promise<StatusError | undefined>;
  readonly #transport: Duplex;
  readonly #options: Required<Omit<SessionOptions, "onStream" | "role">>;
  readonly #onStream: ((stream: SpdyStream) => void) | undefined;
  readonly #isClient: boolean;
  readonly #frames: FrameReader;
  readonly #headerReader: HeaderReader;
  readonly #headerWriter = new HeaderWriter();
  readonly #streams = new Map<number, SpdyStream>();
  readonly #windows = new Map<number, Window>();
  readonly #sessionWindow: Window = { owedBytes: 0, isTelling: false };
  /** Streams with bytes to write, in the order of their turns. */
  readonly #waiting = new Set<SpdyStream>();
  readonly #pings = new Map<number, () => void>();
  readonly #host: StreamHost;
  #peerStreams = 0;
  #unreadBytes = 0;
  #answersBytes = 0;
  #sendWindowBytes = initialWindowBytes;
  #peerInitialWindowBytes = initialWindowBytes;
  /** Until the peer is heard, it may have windows. */
  #keepsWindows = true;
  #isHeard = false;
  #nextId: number;
  #nextPingId: number;
  #lastPeerId = 0;
  #isGoingAway = false;
  #isPeerGoingAway = false;
  #isPaused = false;
  #isCorked = false;
  #prober: NodeJS.Timeout | undefined;
  #isClosing = false;
  #reason: StatusError | undefined;
  #isOver = false;
  #touchedAtMs = performance.now();

  constructor(transport: Duplex, options: SessionOptions) {
    const { role, onStream, maxStreams = 256, maxHeaderBytes = 16 * 1024, flowControl = "auto" } = options;
    const streamWindowBytes = Math.max(initialWindowBytes, options.streamWindowBytes ?? 256 * 1024);
    const sessionWindowBytes = Math.max(streamWindowBytes, options.sessionWindowBytes ?? 2 * 1024 * 1024);
    this.#transport = transport;
    this.#options = { maxStreams, maxHeaderBytes, flowControl, streamWindowBytes, sessionWindowBytes };
    this.#onStream = onStream;
    this.#isClient = role === "client";
    this.#nextId = this.#isClient ? 1 : 2;
    this.#nextPingId = this.#nextId;
    this.#frames = new FrameReader(maxHeaderBytes);
    this.#headerReader = new HeaderReader(maxHeaderBytes);
    this.#host = this.#streamHost();
    const { promise, resolve } = Promise.withResolvers<StatusError | undefined>();
    this.closed = promise;
    transport.on("data", (bytes: Buffer) => this.#read(bytes));
    transport.on("drain", () => this.#pumpAll());
    transport.on("end", () => this.#over(new StatusError(Code.Unavailable, "SPDY: the peer closed the connection")));
    transport.on("error", (error) =>
      this.#over(new StatusError(Code.Unavailable, `SPDY: the connection broke: ${messageOf(error)}`, error)),
    );
    transport.on("close", () => {
      this.#over(new StatusError(Code.Unavailable, "SPDY: the connection is closed"));
      resolve(this.#reason);
    });
    this.#answer(settingsFrame(streamWindowBytes));
    if (sessionWindowBytes > initialWindowBytes)
      this.#answer(windowUpdateFrame(0, sessionWindowBytes - initialWindowBytes));
  }

  /** Streams of both sides that are open, half or whole. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** When the last frame came or data went, by performance.now(). */
  get touchedAtMs(): number {
    return this.#touchedAtMs;
  }

  /** Bytes that came and were not read yet. */
  get unreadBytes(): number {
    return this.#unreadBytes;
  }

  /**
   * Opens a stream; what is written to it goes out at once, `accepted` tells the peer's answer. Throws Unavailable when
   * the session takes no more.
   */
  open(headers: Readonly<Record<string, string>>): SpdyStream {
    if (this.#isOver) throw this.#reason ?? new StatusError(Code.Unavailable, "SPDY: the session is closed");
    if (this.#isGoingAway || this.#isPeerGoingAway)
      throw new StatusError(Code.Unavailable, "SPDY: the session takes no more streams");
    if (this.#nextId > maxStreamId)
      throw new StatusError(Code.Unavailable, "SPDY: the session has used all its stream numbers");
    const id = this.#nextId;
    this.#nextId += 2;
    const stream = this.#add(id, new Map(Object.entries(headers)), true, false, false);
    this.#send(synStreamFrame(id, 0, this.#headerWriter.write(headers)));
    return stream;
  }

  /** Opens a stream and waits until the peer has accepted it. Throws what it answers, or the signal's reason. */
  async openAccepted(headers: Readonly<Record<string, string>>, signal?: AbortSignal): Promise<SpdyStream> {
    signal?.throwIfAborted();
    const stream = this.open(headers);
    const onAbort = () => stream.destroy(signal?.reason as Error);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      await stream.accepted;
      return stream;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Resolves when the peer has answered a PING; Unavailable when the session ends first. */
  async ping(): Promise<void> {
    if (this.#isOver) throw new StatusError(Code.Unavailable, "SPDY: the session is closed");
    const id = this.#nextPingId;
    this.#nextPingId = this.#nextPingId + 2 > maxStreamId ? (this.#isClient ? 1 : 2) : this.#nextPingId + 2;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#pings.set(id, resolve);
    this.#send(pingFrame(id));
    const error = await Promise.race([
      promise,
      this.closed.then((reason) => reason ?? new StatusError(Code.Unavailable, "SPDY: the session was closed")),
    ]);
    if (error !== undefined) throw error;
  }

  /** Takes no new streams, and closes the transport when those that are open have ended. */
  close(): void {
    if (this.#isGoingAway || this.#isOver) return;
    this.#isGoingAway = true;
    this.#send(goAwayFrame(this.#lastPeerId, GoAwayStatus.ok));
    this.#closeWhenDone();
  }

  /** Ends it at once, and its streams with this error. */
  destroy(reason: StatusError = new StatusError(Code.Cancelled, "SPDY: the session was closed")): void {
    this.#over(reason);
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  #streamHost(): StreamHost {
    return {
      pump: (stream) => {
        this.#waiting.add(stream);
        this.#pumpAll();
      },
      consumed: (stream, bytes) => this.#consumed(stream, bytes),
      reply: (stream, headers) => this.#answer(synReplyFrame(stream.id, 0, this.#headerWriter.write(headers))),
      reset: (stream, status) => this.#answer(rstStreamFrame(stream.id, status)),
      fin: (stream) => this.#send(dataFrameHead(stream.id, 0, true)),
      gone: (stream) => this.#gone(stream),
    };
  }

  #add(id: number, headers: Headers, isOurs: boolean, isFin: boolean, isUnidirectional: boolean): SpdyStream {
    const start = {
      id,
      headers,
      isOurs,
      sendWindowBytes: this.#peerInitialWindowBytes,
      readable: !isFin,
      writable: !isUnidirectional,
    };
    const stream = new SpdyStream(this.#host, start, maxDataBytes);
    this.#streams.set(id, stream);
    this.#windows.set(id, { owedBytes: 0, isTelling: false });
    if (!isOurs) this.#peerStreams += 1;
    return stream;
  }

  #gone(stream: SpdyStream): void {
    this.#waiting.delete(stream);
    if (!this.#streams.delete(stream.id)) return;
    this.#windows.delete(stream.id);
    if (this.#isPeers(stream.id)) this.#peerStreams -= 1;
    this.#closeWhenDone();
  }

  #isPeers(id: number): boolean {
    return (id % 2 === 1) !== this.#isClient;
  }

  #closeWhenDone(): void {
    if (!this.#isGoingAway || this.#streams.size > 0 || this.#isOver) return;
    this.#isOver = true;
    this.#endTransport(true);
  }

  /**
   * Lets the last frames go out, and reads on until the peer ends too: TCP would take back what it has not read yet,
   * were there bytes from it that nobody reads. Whoever does not end gets it by force, and one that broke the rules at once.
   */
  #endTransport(waitsForPeer: boolean): void {
    this.#isClosing = true;
    const timer = setTimeout(() => this.#transport.destroy(), lastFramesMs);
    this.#transport.once("close", () => clearTimeout(timer));
    this.#transport.end(() => {
      if (this.#transport.readableEnded || !waitsForPeer) this.#transport.destroy();
      else this.#transport.once("end", () => this.#transport.destroy());
    });
    this.#transport.resume();
  }

  #over(reason: StatusError): void {
    if (!this.#isOver) {
      this.#isOver = true;
      // An end that was agreed on, with nothing under way, is a good one.
      const isDone = [...this.#streams.values()].every((stream) => stream.isDone);
      const isGood = reason.code === Code.Unavailable && isDone && (this.#isGoingAway || this.#isPeerGoingAway);
      this.#reason = isGood ? undefined : reason;
    }
    for (const stream of this.#streams.values()) {
      if (stream.remoteEnded) stream.abandoned(reason);
      else stream.failed(reason);
    }
    this.#pings.clear();
    clearInterval(this.#prober);
    // A session that was closed well still has its last frames to send.
    if (!this.#isClosing) this.#transport.destroy();
  }

  /** What the peer sent cannot be understood: says so and ends. */
  #fail(error: unknown): void {
    const reason =
      error instanceof StatusError ? error : new StatusError(Code.Internal, `SPDY: ${messageOf(error)}`, error);
    if (this.#isOver) return;
    this.#send(goAwayFrame(this.#lastPeerId, GoAwayStatus.protocolError));
    this.#endTransport(false);
    this.#over(reason);
  }

  // ---- What we send ----

  /** What is written in one turn goes out together. */
  #write(bytes: Buffer, done?: (error?: Error | null) => void): void {
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#transport.cork();
      process.nextTick(() => {
        this.#isCorked = false;
        this.#transport.uncork();
      });
    }
    this.#transport.write(bytes, done);
  }

  #send(bytes: Buffer): void {
    if (!this.#isOver) this.#write(bytes);
  }

  /** A frame that the peer made us send: a peer that reads none of them is not waited for. */
  #answer(bytes: Buffer, sent?: () => void): void {
    if (this.#isOver) return;
    this.#answersBytes += bytes.length;
    if (this.#answersBytes > maxAnswersBytes) {
      this.#over(new StatusError(Code.ResourceExhausted, "SPDY: the peer asks on and reads no answer"));
      return;
    }
    this.#write(bytes, () => {
      this.#answersBytes -= bytes.length;
      sent?.();
    });
  }

  /** A window has changed: those that wait for one get a turn. */
  #wakeWriters(): void {
    for (const stream of this.#streams.values()) if (stream.writing !== undefined) this.#waiting.add(stream);
    this.#pumpAll();
  }

  /** One frame for each stream in turn, while the transport takes more and the windows allow it. */
  #pumpAll(): void {
    if (this.#isOver || this.#transport.writableNeedDrain) return;
    for (const stream of this.#waiting) {
      this.#waiting.delete(stream);
      const isBlocked = !this.#pumpOne(stream);
      if (!isBlocked && stream.writing !== undefined) this.#waiting.add(stream);
      if (this.#transport.writableNeedDrain) break;
    }
  }

  /** False when the stream has to wait for a window, whose update gives it a turn again. */
  #pumpOne(stream: SpdyStream): boolean {
    const { writing } = stream;
    if (writing === undefined) return true;
    const left = writing.bytes.length - writing.handedBytes;
    const room = this.#keepsWindows ? Math.min(stream.sendWindowBytes, this.#sendWindowBytes) : left;
    const length = Math.min(left, maxDataBytes, room);
    if (length <= 0 && left > 0) return false;
    const part = writing.bytes.subarray(writing.handedBytes, writing.handedBytes + length);
    stream.sendWindowBytes -= length;
    this.#sendWindowBytes -= length;
    this.#touchedAtMs = performance.now();
    this.#write(dataFrameHead(stream.id, length, false));
    this.#write(part, stream.handed(writing, length));
    return true;
  }

  // ---- What the peer sends ----

  #read(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#touchedAtMs = performance.now();
    try {
      for (const frame of this.#frames.read(bytes)) {
        this.#take(frame);
        if (this.#isOver) return;
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #hear(frame: Frame): void {
    this.#isHeard = true;
    if (this.#options.flowControl === "always" || frame.type === "settings" || frame.type === "windowUpdate") return;
    this.#keepsWindows = false;
    this.#wakeWriters();
  }

  #take(frame: Frame): void {
    if (!this.#isHeard) this.#hear(frame);
    switch (frame.type) {
      case "data":
        this.#takeData(frame.streamId, frame.data, frame.isFin);
        return;
      case "synStream":
        this.#takeStream(
          frame.streamId,
          this.#headerReader.read(frame.headerBlock),
          frame.isFin,
          frame.isUnidirectional,
        );
        return;
      case "synReply": {
        const headers = this.#headerReader.read(frame.headerBlock);
        this.#takeReply(frame.streamId, headers, frame.isFin);
        return;
      }
      case "headers":
        // More headers for a stream: nobody here sends any, but the compression goes on through them.
        this.#headerReader.read(frame.headerBlock);
        if (frame.isFin) this.#streams.get(frame.streamId)?.received(Buffer.alloc(0), true);
        return;
      case "rstStream":
        this.#takeReset(frame.streamId, frame.status);
        return;
      case "settings":
        this.#takeSettings(frame.initialWindowBytes);
        return;
      case "ping":
        if (this.#isPeers(frame.id)) this.#answer(pingFrame(frame.id));
        else this.#takePong(frame.id);
        return;
      case "goAway":
        this.#takeGoAway(frame.lastStreamId);
        return;
      case "windowUpdate":
        this.#takeWindowUpdate(frame.streamId, frame.deltaBytes);
    }
  }

  #takeStream(id: number, headers: Headers, isFin: boolean, isUnidirectional: boolean): void {
    // SPDY/3.1, 2.3.2: numbers have the sender's parity and go up.
    if (!this.#isPeers(id) || id <= this.#lastPeerId)
      throw new StatusError(Code.InvalidArgument, `SPDY: the peer opened stream ${id} after ${this.#lastPeerId}`);
    this.#lastPeerId = id;
    if (this.#isGoingAway) return;
    if (this.#onStream === undefined || this.#peerStreams >= this.#options.maxStreams) {
      this.#answer(rstStreamFrame(id, RstStatus.refusedStream));
      return;
    }
    const stream = this.#add(id, headers, false, isFin, isUnidirectional);
    this.#onStream(stream);
  }

  #takeReply(id: number, headers: Headers, isFin: boolean): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (this.#isPeers(id) || stream.isReplied) {
      stream.reset(RstStatus.streamInUse);
      return;
    }
    stream.acceptedBy(headers);
    if (isFin) stream.received(Buffer.alloc(0), true);
  }

  #takeReset(id: number, status: number): void {
    const stream = this.#streams.get(id);
    const isOpen = stream !== undefined && (this.#isPeers(id) || stream.isReplied);
    if (isOpen && status === RstStatus.cancel) stream.abandoned(resetError(id, status));
    else stream?.failed(resetError(id, status));
  }

  #takeData(id: number, data: Buffer, isFin: boolean): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.destroyed || stream.remoteEnded) {
      const isUnknown = this.#isPeers(id) ? id > this.#lastPeerId : id >= this.#nextId;
      if (isUnknown) this.#answer(rstStreamFrame(id, RstStatus.invalidStream));
      else if (stream?.remoteEnded === true) stream.reset(RstStatus.streamAlreadyClosed);
      // What was under way when a stream ended still came out of the session's window.
      this.#owe(this.#sessionWindow, 0, data.length, this.#options.sessionWindowBytes);
      return;
    }
    const { streamWindowBytes, sessionWindowBytes } = this.#options;
    const isOverrun =
      stream.unreadBytes + data.length > streamWindowBytes || this.#unreadBytes + data.length > sessionWindowBytes;
    if (this.#keepsWindows && isOverrun) {
      stream.reset(RstStatus.flowControlError);
      this.#owe(this.#sessionWindow, 0, data.length, sessionWindowBytes);
      return;
    }
    this.#unreadBytes += data.length;
    stream.received(data, isFin);
    // A peer without windows is held up by the connection itself, with all its streams; from one with windows, what
    // gives us room to write has to be read at all times.
    const isFull = this.#unreadBytes >= sessionWindowBytes || stream.unreadBytes >= streamWindowBytes;
    if (!this.#keepsWindows && isFull && !this.#isPaused) {
      this.#isPaused = true;
      this.#transport.pause();
      this.#prober = setInterval(() => this.#probe(), probeMs).unref();
    }
  }

  #consumed(stream: SpdyStream, bytes: number): void {
    const { streamWindowBytes, sessionWindowBytes } = this.#options;
    this.#unreadBytes -= bytes;
    this.#owe(this.#sessionWindow, 0, bytes, sessionWindowBytes);
    const window = this.#windows.get(stream.id);
    if (window !== undefined && !stream.remoteEnded && !stream.destroyed)
      this.#owe(window, stream.id, bytes, streamWindowBytes);
    if (this.#isPaused && this.#unreadBytes < sessionWindowBytes / 2 && this.#hasRoom()) {
      this.#isPaused = false;
      clearInterval(this.#prober);
      this.#transport.resume();
    }
  }

  /** Whoever does not read does not see the connection's end; a peer that is gone answers what it gets with one. */
  #probe(): void {
    if (!this.#transport.writableNeedDrain) void this.ping().catch(() => {});
  }

  #hasRoom(): boolean {
    if (this.#keepsWindows) return true;
    const { streamWindowBytes } = this.#options;
    for (const stream of this.#streams.values()) if (stream.unreadBytes >= streamWindowBytes) return false;
    return true;
  }

  /** Tells the peer of room when it has come to half a window, one frame at a time for each window. */
  #owe(window: Window, id: number, bytes: number, wholeBytes: number): void {
    window.owedBytes += bytes;
    // A peer without windows does not look at them; and what it has not read when it closes makes TCP drop the end of
    // what it sent.
    if (!this.#keepsWindows) return;
    if (window.owedBytes < wholeBytes / 2 || window.isTelling || this.#isOver) return;
    const deltaBytes = window.owedBytes;
    window.owedBytes = 0;
    window.isTelling = true;
    this.#answer(windowUpdateFrame(id, deltaBytes), () => {
      window.isTelling = false;
      if (id === 0 || this.#windows.has(id)) this.#owe(window, id, 0, wholeBytes);
    });
  }

  #takeSettings(initialBytes: number | undefined): void {
    if (initialBytes === undefined) return;
    this.#keepsWindows = true;
    // SPDY/3.1, 2.6.8: a new initial size moves the windows of the streams that are open, below 0 if need be.
    const delta = initialBytes - this.#peerInitialWindowBytes;
    this.#peerInitialWindowBytes = initialBytes;
    for (const stream of this.#streams.values()) {
      stream.sendWindowBytes += delta;
      if (stream.sendWindowBytes > maxWindowBytes) stream.reset(RstStatus.flowControlError);
    }
    this.#wakeWriters();
  }

  #takeWindowUpdate(id: number, deltaBytes: number): void {
    this.#keepsWindows = true;
    if (id === 0) {
      this.#sendWindowBytes += deltaBytes;
      if (deltaBytes === 0 || this.#sendWindowBytes > maxWindowBytes)
        throw new StatusError(Code.InvalidArgument, "SPDY: the peer's session window is out of bounds");
    } else {
      const stream = this.#streams.get(id);
      if (stream === undefined) return;
      stream.sendWindowBytes += deltaBytes;
      if (deltaBytes === 0 || stream.sendWindowBytes > maxWindowBytes) stream.reset(RstStatus.flowControlError);
    }
    this.#wakeWriters();
  }

  #takePong(id: number): void {
    this.#pings.get(id)?.();
    this.#pings.delete(id);
  }

  #takeGoAway(lastStreamId: number): void {
    this.#isPeerGoingAway = true;
    for (const stream of this.#streams.values()) {
      if (this.#isPeers(stream.id) || stream.id <= lastStreamId) continue;
      stream.failed(
        new StatusError(Code.Unavailable, `SPDY: the peer goes away and has not taken stream ${stream.id}`),
      );
    }
  }
}
