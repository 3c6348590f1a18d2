import type { Duplex } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { FrameReader } from "./frame-reader.ts";
import { FrameWriter } from "./frame-writer.ts";
import {
  dataFrameHead,
  type Frame,
  GoAwayStatus,
  goAwayFrame,
  initialWindowBytes,
  maxStreamId,
  pingFrame,
  RstStatus,
  rstStreamFrame,
  synReplyFrame,
  synStreamFrame,
} from "./frame.ts";
import { HeaderReader, type Headers, HeaderWriter } from "./header-block.ts";
import { ReceiveWindows } from "./receive-windows.ts";
import { maxDataBytes, StreamSender } from "./stream-sender.ts";
import { StreamTable } from "./stream-table.ts";
import { resetError, SpdyStream, type StreamHost } from "./stream.ts";

export interface SessionOptions {
  /** The client opens streams with odd numbers. */
  readonly role: "client" | "server";
  /**
   * Called with each stream that the peer opens: `reply()` accepts it, `reset()` refuses it. Without this function all
   * are refused.
   */
  readonly onStream?: (stream: SpdyStream) => void;
  /** How many streams the peer may have open at once; 256. More are refused. */
  readonly maxStreams?: number;
  /** The most that the headers of one stream may have; 16 KiB. More end the session. */
  readonly maxHeaderBytes?: number;
  /** What the peer may send on one stream before it is read; 256 KiB, and at least 64. */
  readonly streamWindowBytes?: number;
  /** The same for all streams together; 2 MiB. */
  readonly sessionWindowBytes?: number;
  /**
   * Whether we keep to the peer's windows. The default, "auto": not when the first frame that it sends is neither
   * SETTINGS nor WINDOW_UPDATE, until one of these comes. Kubernetes' clients and servers written in Go never send
   * either, and would block a sender for good.
   */
  readonly flowControl?: "auto" | "always";
}

/** How long the last frames of a session may take, in ms. */
const lastFramesMs = 5000;

/**
 * One end of a SPDY/3.1 session on any duplex stream, which it owns. Nothing is thrown out of its event handlers:
 * `closed` resolves with what ended the session, and its streams fail with the same error.
 */
export class SpdySession implements Disposable {
  /** Resolves when the transport is closed: undefined after a good end, else the reason. */
  readonly closed: Promise<StatusError | undefined>;
  readonly #transport: Duplex;
  readonly #onStream: ((stream: SpdyStream) => void) | undefined;
  readonly #isClient: boolean;
  readonly #maxStreams: number;
  readonly #flowControl: "auto" | "always";
  readonly #frames: FrameReader;
  readonly #headerReader: HeaderReader;
  readonly #headerWriter = new HeaderWriter();
  readonly #streams: StreamTable;
  readonly #writer: FrameWriter;
  readonly #sender: StreamSender;
  readonly #receiver: ReceiveWindows;
  readonly #host: StreamHost;
  readonly #pings = new Map<number, () => void>();
  #nextPingId: number;
  #isHeard = false;
  #isGoingAway = false;
  #isPeerGoingAway = false;
  #isClosing = false;
  #reason: StatusError | undefined;
  #heardAtMs = performance.now();

  constructor(transport: Duplex, options: SessionOptions) {
    const { role, onStream, maxStreams = 256, maxHeaderBytes = 16 * 1024, flowControl = "auto" } = options;
    const streamWindowBytes = Math.max(initialWindowBytes, options.streamWindowBytes ?? 256 * 1024);
    const sessionWindowBytes = Math.max(streamWindowBytes, options.sessionWindowBytes ?? 2 * 1024 * 1024);
    this.#transport = transport;
    this.#onStream = onStream;
    this.#isClient = role === "client";
    this.#maxStreams = maxStreams;
    this.#flowControl = flowControl;
    this.#nextPingId = this.#isClient ? 1 : 2;
    this.#frames = new FrameReader(maxHeaderBytes);
    this.#headerReader = new HeaderReader(maxHeaderBytes);
    this.#streams = new StreamTable(this.#isClient);
    this.#writer = new FrameWriter(transport, () =>
      this.#end(new StatusError(Code.ResourceExhausted, "SPDY: the peer keeps asking and reads none of the answers")),
    );
    this.#sender = new StreamSender(this.#writer, this.#streams);
    this.#receiver = new ReceiveWindows(transport, this.#writer, this.#streams, {
      streamWindowBytes,
      sessionWindowBytes,
      hasWindows: () => this.#sender.hasWindows,
      probe: () => void this.ping().catch(() => {}),
    });
    this.#host = this.#streamHost();
    const { promise, resolve } = Promise.withResolvers<StatusError | undefined>();
    this.closed = promise;
    transport.on("data", (bytes: Buffer) => this.#read(bytes));
    transport.on("drain", () => this.#sender.pump());
    transport.on("end", () => this.#end(new StatusError(Code.Unavailable, "SPDY: the peer closed the connection")));
    transport.on("error", (error) =>
      this.#end(new StatusError(Code.Unavailable, `SPDY: the connection broke: ${messageOf(error)}`, error)),
    );
    transport.on("close", () => {
      this.#end(new StatusError(Code.Unavailable, "SPDY: the connection is closed"));
      resolve(this.#reason);
    });
    this.#receiver.announce();
  }

  /** Streams of both sides that are open, half or whole. */
  get openStreams(): number {
    return this.#streams.size;
  }

  /** When the last frame came or data went, by performance.now(). */
  get touchedAtMs(): number {
    return Math.max(this.#heardAtMs, this.#sender.touchedAtMs);
  }

  /** Bytes that came and were not read yet. */
  get unreadBytes(): number {
    return this.#receiver.unreadBytes;
  }

  /**
   * Opens a stream; what is written to it goes out at once, and `accepted` settles with the peer's answer. Throws
   * Unavailable when the session takes no more streams.
   */
  open(headers: Readonly<Record<string, string>>): SpdyStream {
    if (this.#isOver) throw this.#reason ?? new StatusError(Code.Unavailable, "SPDY: the session is closed");
    if (this.#isGoingAway || this.#isPeerGoingAway)
      throw new StatusError(Code.Unavailable, "SPDY: the session takes no more streams");
    const id = this.#streams.takeId();
    if (id === undefined) throw new StatusError(Code.Unavailable, "SPDY: the session has used all its stream numbers");
    const stream = this.#add(id, new Map(Object.entries(headers)), { readable: true, writable: true });
    this.#writer.send(synStreamFrame(id, 0, this.#headerWriter.write(headers)));
    return stream;
  }

  /** Opens a stream and waits until the peer has accepted it. Throws the peer's refusal, or the signal's reason. */
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

  /** Resolves when the peer has answered a PING. Throws Unavailable when the session ends first. */
  async ping(): Promise<void> {
    if (this.#isOver) throw new StatusError(Code.Unavailable, "SPDY: the session is closed");
    const id = this.#nextPingId;
    this.#nextPingId = this.#nextPingId + 2 > maxStreamId ? (this.#isClient ? 1 : 2) : this.#nextPingId + 2;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#pings.set(id, resolve);
    this.#writer.send(pingFrame(id));
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
    this.#writer.send(goAwayFrame(this.#streams.lastPeerId, GoAwayStatus.ok));
    this.#closeWhenDone();
  }

  /** Ends it at once, and its streams with this error. */
  destroy(reason: StatusError = new StatusError(Code.Cancelled, "SPDY: the session was closed")): void {
    this.#end(reason);
  }

  [Symbol.dispose](): void {
    this.destroy();
  }

  // ---- Its streams ----

  #streamHost(): StreamHost {
    return {
      pump: (stream) => this.#sender.enqueue(stream),
      consumed: (stream, bytes) => this.#receiver.consumed(stream, bytes),
      reply: (stream, headers) => this.#writer.answer(synReplyFrame(stream.id, 0, this.#headerWriter.write(headers))),
      reset: (stream, status) => this.#writer.answer(rstStreamFrame(stream.id, status)),
      fin: (stream) => this.#writer.send(dataFrameHead(stream.id, 0, true)),
      gone: (stream) => this.#gone(stream),
    };
  }

  #add(id: number, headers: Headers, sides: { readable: boolean; writable: boolean }): SpdyStream {
    const start = {
      id,
      headers,
      isOurs: !this.#streams.isPeers(id),
      sendWindowBytes: this.#sender.streamWindowBytes,
      ...sides,
    };
    const stream = new SpdyStream(this.#host, start, maxDataBytes);
    this.#streams.add(stream);
    this.#receiver.open(id);
    return stream;
  }

  #gone(stream: SpdyStream): void {
    this.#sender.forget(stream);
    if (!this.#streams.delete(stream.id)) return;
    this.#receiver.close(stream.id);
    this.#closeWhenDone();
  }

  // ---- Its end ----

  /** Whether it sends nothing any more but what the transport has already. */
  get #isOver(): boolean {
    return this.#writer.isStopped;
  }

  #closeWhenDone(): void {
    if (!this.#isGoingAway || this.#streams.size > 0 || this.#isOver) return;
    this.#writer.stop();
    this.#endTransport(true);
  }

  /**
   * Lets the last frames go out, and reads on until the peer ends too: with bytes from the peer unread, TCP would reset
   * the connection and discard what the peer has not read yet. A peer that does not end in time is cut off, and one
   * that broke the rules is not waited for.
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

  #end(reason: StatusError): void {
    if (!this.#isOver) {
      this.#writer.stop();
      // An end that both sides had agreed on, with nothing under way, is a good one.
      const isDone = [...this.#streams].every((stream) => stream.isDone);
      const isGood = reason.code === Code.Unavailable && isDone && (this.#isGoingAway || this.#isPeerGoingAway);
      this.#reason = isGood ? undefined : reason;
    }
    for (const stream of this.#streams) {
      if (stream.remoteEnded) stream.abandoned(reason);
      else stream.failed(reason);
    }
    this.#pings.clear();
    this.#receiver.stop();
    // A session that was closed well still has its last frames to send.
    if (!this.#isClosing) this.#transport.destroy();
  }

  /** The peer sent what no peer may: says so and ends. */
  #fail(error: unknown): void {
    const reason =
      error instanceof StatusError ? error : new StatusError(Code.Internal, `SPDY: ${messageOf(error)}`, error);
    if (this.#isOver) return;
    this.#writer.send(goAwayFrame(this.#streams.lastPeerId, GoAwayStatus.protocolError));
    this.#endTransport(false);
    this.#end(reason);
  }

  // ---- What the peer sends ----

  #read(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#heardAtMs = performance.now();
    try {
      for (const frame of this.#frames.read(bytes)) {
        if (!this.#isHeard) this.#takeFirst(frame);
        this.#take(frame);
        if (this.#isOver) return;
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** A peer that keeps windows speaks of them first. */
  #takeFirst(frame: Frame): void {
    this.#isHeard = true;
    const hasWindows = frame.type === "settings" || frame.type === "windowUpdate";
    if (!hasWindows && this.#flowControl !== "always") this.#sender.ignoreWindows();
  }

  #take(frame: Frame): void {
    switch (frame.type) {
      case "data":
        this.#takeData(frame.streamId, frame.data, frame.isFin);
        return;
      case "synStream":
        this.#takeStream(frame.streamId, this.#headerReader.read(frame.headerBlock), {
          readable: !frame.isFin,
          writable: !frame.isUnidirectional,
        });
        return;
      case "synReply":
        this.#takeReply(frame.streamId, this.#headerReader.read(frame.headerBlock), frame.isFin);
        return;
      case "headers":
        // More headers for a stream: no peer of ours sends any, but the compression covers them too.
        this.#headerReader.read(frame.headerBlock);
        if (frame.isFin) this.#streams.get(frame.streamId)?.received(Buffer.alloc(0), true);
        return;
      case "rstStream":
        this.#takeReset(frame.streamId, frame.status);
        return;
      case "settings":
        if (frame.initialWindowBytes !== undefined) this.#sender.setStreamWindow(frame.initialWindowBytes);
        return;
      case "ping":
        if (this.#streams.isPeers(frame.id)) this.#writer.answer(pingFrame(frame.id));
        else this.#takePong(frame.id);
        return;
      case "goAway":
        this.#takeGoAway(frame.lastStreamId);
        return;
      case "windowUpdate":
        this.#sender.widen(frame.streamId, frame.deltaBytes);
    }
  }

  #takeStream(id: number, headers: Headers, sides: { readable: boolean; writable: boolean }): void {
    const { lastPeerId } = this.#streams;
    if (!this.#streams.takePeerId(id))
      throw new StatusError(Code.InvalidArgument, `SPDY: the peer opened stream ${id} after ${lastPeerId}`);
    if (this.#isGoingAway) return;
    if (this.#onStream === undefined || this.#streams.peerStreams >= this.#maxStreams) {
      this.#writer.answer(rstStreamFrame(id, RstStatus.refusedStream));
      return;
    }
    this.#onStream(this.#add(id, headers, sides));
  }

  #takeReply(id: number, headers: Headers, isFin: boolean): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (this.#streams.isPeers(id) || stream.isReplied) {
      stream.reset(RstStatus.streamInUse);
      return;
    }
    stream.acceptedBy(headers);
    if (isFin) stream.received(Buffer.alloc(0), true);
  }

  #takeReset(id: number, status: number): void {
    const stream = this.#streams.get(id);
    const isOpen = stream !== undefined && (this.#streams.isPeers(id) || stream.isReplied);
    if (isOpen && status === RstStatus.cancel) stream.abandoned(resetError(id, status));
    else stream?.failed(resetError(id, status));
  }

  #takeData(id: number, data: Buffer, isFin: boolean): void {
    const stream = this.#streams.get(id);
    if (stream !== undefined && !stream.destroyed && !stream.remoteEnded) {
      this.#receiver.received(stream, data, isFin);
      return;
    }
    if (!this.#streams.wasOpened(id)) this.#writer.answer(rstStreamFrame(id, RstStatus.invalidStream));
    else if (stream?.remoteEnded === true) stream.reset(RstStatus.streamAlreadyClosed);
    // Anything else was under way when the stream ended.
    this.#receiver.dropped(data.length);
  }

  #takePong(id: number): void {
    this.#pings.get(id)?.();
    this.#pings.delete(id);
  }

  #takeGoAway(lastStreamId: number): void {
    this.#isPeerGoingAway = true;
    for (const stream of this.#streams) {
      if (this.#streams.isPeers(stream.id) || stream.id <= lastStreamId) continue;
      stream.failed(
        new StatusError(Code.Unavailable, `SPDY: the peer goes away and has not taken stream ${stream.id}`),
      );
    }
  }
}
