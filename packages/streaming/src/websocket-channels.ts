import { Duplex, Readable, Writable } from "node:stream";
import { Code, StatusError } from "@keelson/base/status.ts";
import type WebSocket from "ws";

/** How bytes travel: raw after a byte with the channel's number, or as text, in base64 after the channel's digit. */
export type ChannelEncoding = "binary" | "base64";

/** In v5, the message for the end of a channel: the next byte is the channel's number. */
const closeSignal = 255;

/** How often a connection that is not read is probed, in ms. */
const probeMs = 10_000;

interface Incoming {
  /** False when there is no room for more at the moment. */
  data(bytes: Buffer): boolean;
  end(): void;
}

/** Kubernetes' channels on a WebSocket: streams of bytes by number. */
export class WebSocketChannels {
  /** Aborts with the reason when the connection is closed. */
  readonly signal: AbortSignal;
  readonly #socket: WebSocket;
  readonly #encoding: ChannelEncoding;
  readonly #incoming = new Map<number, Incoming>();
  readonly #stalled = new Set<number>();
  #prober: NodeJS.Timeout | undefined;
  #touchedAtMs = performance.now();

  constructor(socket: WebSocket, encoding: ChannelEncoding, hasCloseSignal: boolean) {
    this.#socket = socket;
    this.#encoding = encoding;
    const abort = new AbortController();
    this.signal = abort.signal;
    socket.on("message", (data, isBinary) => this.#take(data as Buffer, isBinary, hasCloseSignal));
    // `close` follows, and is handled below.
    socket.on("error", () => {});
    socket.on("close", () => {
      clearInterval(this.#prober);
      for (const incoming of this.#incoming.values()) incoming.end();
      abort.abort(new StatusError(Code.Cancelled, "the client closed the connection"));
    });
  }

  /** When something last came or went, by performance.now(). */
  get touchedAtMs(): number {
    return this.#touchedAtMs;
  }

  /** What comes on a channel. It ends with the connection, or when the client ends the channel. */
  readable(channel: number): Readable {
    return this.#receiving(channel, new Readable({ read: () => this.#resume(channel) }));
  }

  /**
   * Both directions of a channel. There is no message for the end of ours, so that it ends both: what the client sends
   * after it is discarded.
   */
  duplex(channel: number): Duplex {
    return this.#receiving(
      channel,
      new Duplex({
        read: () => this.#resume(channel),
        write: (bytes: Buffer, _encoding, done) => this.send(channel, bytes, done),
        final: (done) => {
          this.#endOf(channel);
          done();
        },
      }),
    );
  }

  #receiving<S extends Readable>(channel: number, stream: S): S {
    stream.on("error", () => {});
    stream.on("close", () => {
      // A channel that nobody reads any more must not hold up the others.
      this.#incoming.set(channel, { data: () => true, end: () => {} });
      this.#resume(channel);
    });
    this.#incoming.set(channel, { data: (bytes) => stream.push(bytes), end: () => void stream.push(null) });
    return stream;
  }

  /** Passes what comes on a channel to a function that needs no back-pressure. */
  listen(channel: number, listener: (bytes: Buffer) => void): void {
    this.#incoming.set(channel, { data: (bytes) => (listener(bytes), true), end: () => {} });
  }

  /** A channel to write to: a write is done when it has been sent. */
  writable(channel: number): Writable {
    const stream = new Writable({ write: (bytes: Buffer, _encoding, done) => this.send(channel, bytes, done) });
    stream.on("error", () => {});
    return stream;
  }

  send(channel: number, bytes: Uint8Array, done: (error?: Error) => void = () => {}): void {
    if (this.#socket.readyState !== this.#socket.OPEN) {
      done(new StatusError(Code.Cancelled, "the client closed the connection"));
      return;
    }
    this.#touchedAtMs = performance.now();
    if (this.#encoding === "binary")
      this.#socket.send(Buffer.concat([Uint8Array.of(channel), bytes]), { binary: true }, done);
    else this.#socket.send(`${channel}${Buffer.from(bytes).toString("base64")}`, { binary: false }, done);
  }

  /** Closes the connection after what was sent, and resolves when it is closed. */
  async close(): Promise<void> {
    // Whatever still comes is discarded, so that the client's own close is read.
    this.#incoming.clear();
    this.#stalled.clear();
    this.#socket.resume();
    this.#socket.close(1000);
    if (this.signal.aborted) return;
    await new Promise((resolve) => this.signal.addEventListener("abort", resolve, { once: true }));
  }

  /** Closes the connection without a handshake. */
  destroy(): void {
    this.#socket.terminate();
  }

  #take(data: Buffer, isBinary: boolean, hasCloseSignal: boolean): void {
    this.#touchedAtMs = performance.now();
    if (data.length === 0 || isBinary !== (this.#encoding === "binary")) return;
    const channel = isBinary ? data[0]! : data[0]! - 0x30;
    if (channel === closeSignal && hasCloseSignal && data.length === 2) {
      this.#endOf(data[1]!);
      return;
    }
    const bytes = isBinary ? data.subarray(1) : Buffer.from(data.toString("latin1", 1), "base64");
    const incoming = this.#incoming.get(channel);
    if (incoming === undefined || bytes.length === 0 || incoming.data(bytes)) return;
    this.#stalled.add(channel);
    this.#socket.pause();
    // While we do not read we do not see the connection's end; a client that is gone answers a write with a reset.
    this.#prober ??= setInterval(() => this.#probe(), probeMs).unref();
  }

  #endOf(channel: number): void {
    this.#incoming.get(channel)?.end();
    this.#incoming.delete(channel);
    this.#resume(channel);
  }

  #probe(): void {
    if (this.#socket.readyState === this.#socket.OPEN && this.#socket.bufferedAmount === 0) this.#socket.ping();
  }

  #resume(channel: number): void {
    if (!this.#stalled.delete(channel) || this.#stalled.size > 0) return;
    clearInterval(this.#prober);
    this.#prober = undefined;
    this.#socket.resume();
  }
}
