import { Duplex } from "node:stream";
import { Code, StatusError } from "@keelson/base/status.ts";
import { RstStatus, rstStatusName } from "./frame.ts";
import type { Headers } from "./header-block.ts";

/** What a stream asks of its session. */
export interface StreamHost {
  /** The stream has something to write, or room to write it. */
  pump(stream: SpdyStream): void;
  /** The reader took this much of what had come. */
  consumed(stream: SpdyStream, bytes: number): void;
  reply(stream: SpdyStream, headers: Readonly<Record<string, string>>): void;
  reset(stream: SpdyStream, status: number): void;
  fin(stream: SpdyStream): void;
  gone(stream: SpdyStream): void;
}

interface Writing {
  readonly bytes: Buffer;
  /** How many of them were handed to the transport, and how many of those it has sent. */
  handedBytes: number;
  sentBytes: number;
  error?: Error | undefined;
  readonly done: (error?: Error | null) => void;
}

export interface StreamStart {
  readonly id: number;
  readonly headers: Headers;
  readonly isOurs: boolean;
  readonly sendWindowBytes: number;
  /** Whether the peer sends, and whether we do. */
  readonly readable: boolean;
  readonly writable: boolean;
}

/**
 * A stream of a session, as a Duplex with flow control at both ends: the peer sends only what the reader takes, and a
 * write is done when the transport has sent it, so that its buffer can be used again. `end()` closes our half;
 * `destroy()` resets the stream, which the peer sees as CANCEL. It fails with a StatusError when the peer resets it
 * (Aborted) or the session ends (Unavailable).
 */
export class SpdyStream extends Duplex {
  readonly id: number;
  /** The headers that it was opened with. */
  readonly headers: Headers;
  /** Settles with the peer's headers when it accepts a stream of ours; at once for a stream that the peer opened. */
  readonly accepted: Promise<Headers>;
  /** For the session: how much the peer lets us send, in bytes; below 0 when it has taken room away. */
  sendWindowBytes: number;
  /** For the session: what came and was not read yet, in bytes. */
  unreadBytes = 0;
  readonly #host: StreamHost;
  readonly #isOurs: boolean;
  readonly #queue: Buffer[] = [];
  readonly #settle: { resolve: (headers: Headers) => void; reject: (error: Error) => void };
  #writing: Writing | undefined;
  #wantsMore = false;
  #remoteEnded: boolean;
  #localEnded: boolean;
  #isReplied: boolean;
  /** Whether `accepted` is settled: an error that nobody would see is expensive to make. */
  #isSettled: boolean;
  #isReset = false;
  #isEndPushed: boolean;
  #writeError: StatusError | undefined;

  constructor(host: StreamHost, start: StreamStart, highWaterMark: number) {
    super({ highWaterMark });
    this.id = start.id;
    this.headers = start.headers;
    this.sendWindowBytes = start.sendWindowBytes;
    this.#host = host;
    this.#isOurs = start.isOurs;
    this.#isReplied = false;
    this.#isEndPushed = !start.readable;
    this.#remoteEnded = !start.readable;
    this.#localEnded = !start.writable;
    const { promise, resolve, reject } = Promise.withResolvers<Headers>();
    this.accepted = promise;
    this.#settle = { resolve, reject };
    promise.catch(() => {});
    this.#isSettled = !start.isOurs;
    if (!start.isOurs) resolve(start.headers);
    // A stream that nobody looks at must not end the process.
    this.on("error", () => {});
    if (!start.writable) this.end();
    if (!start.readable) this.push(null);
  }

  /** Accepts a stream that the peer opened: once, before anything is written. */
  reply(headers: Readonly<Record<string, string>> = {}): void {
    if (this.#isOurs || this.#isReplied)
      throw new StatusError(Code.FailedPrecondition, `SPDY: stream ${this.id} takes no reply`);
    this.#isReplied = true;
    if (!this.#isReset) this.#host.reply(this, headers);
  }

  /** Refuses or abandons the stream with a status of SPDY/3.1, 2.6.3. */
  reset(status: number = RstStatus.cancel): void {
    if (this.destroyed) return;
    this.#sendReset(status);
    this.destroy();
  }

  /** Whether the peer has said that it sends no more. */
  get remoteEnded(): boolean {
    return this.#remoteEnded;
  }

  /** Whether both sides have said that they send no more. */
  get isDone(): boolean {
    return this.#remoteEnded && this.#localEnded;
  }

  /** For the session: what waits to be sent. */
  get writing(): Writing | undefined {
    return this.#writing;
  }

  /** For the session: so many bytes of `writing` go to the transport. Returns what to call when that has sent them. */
  handed(writing: Writing, bytes: number): (error?: Error | null) => void {
    writing.handedBytes += bytes;
    if (writing.handedBytes === writing.bytes.length) this.#writing = undefined;
    return (error) => {
      writing.sentBytes += bytes;
      if (error != null) this.#stopWriting(writing, error);
      else settle(writing);
    };
  }

  /** For the session: the peer accepted the stream. */
  acceptedBy(headers: Headers): void {
    this.#isReplied = true;
    this.#isSettled = true;
    this.#settle.resolve(headers);
  }

  get isReplied(): boolean {
    return this.#isReplied;
  }

  /** For the session: the peer sent these bytes. */
  received(data: Buffer, isFin: boolean): void {
    if (data.length > 0) {
      this.#queue.push(data);
      this.unreadBytes += data.length;
    }
    if (isFin) this.#remoteEnded = true;
    if (this.#wantsMore) this.#deliver();
  }

  /** For the session: the stream ends with an error, of the peer or of the whole session. */
  failed(error: StatusError): void {
    this.#isReset = true;
    this.destroy(error);
  }

  /**
   * For the session: the peer has no more interest in the stream. What came before can still be read and then ends
   * without an error, because the servers of Go's spdystream leave every stream this way; after that, writes fail.
   */
  abandoned(error: StatusError): void {
    this.#isReset = true;
    this.#writeError = error;
    const writing = this.#writing;
    this.#host.gone(this);
    this.received(Buffer.alloc(0), true);
    if (writing !== undefined) this.#stopAfterReading(writing, error);
  }

  override _read(): void {
    this.#wantsMore = true;
    this.#deliver();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#send(bytes, done);
  }

  /** Many small writes cost less as one frame. */
  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: (error?: Error | null) => void): void {
    this.#send(chunks.length === 1 ? chunks[0]!.chunk : Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#localEnded && !this.#isReset) this.#host.fin(this);
    this.#localEnded = true;
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#remoteEnded || !this.#localEnded) this.#sendReset(RstStatus.cancel);
    if (!this.#isSettled)
      this.#settle.reject(error ?? new StatusError(Code.Cancelled, `SPDY: stream ${this.id} was closed`));
    this.#queue.length = 0;
    const unread = this.unreadBytes;
    this.unreadBytes = 0;
    if (unread > 0) this.#host.consumed(this, unread);
    const writing = this.#writing;
    this.#host.gone(this);
    done(error);
    if (writing !== undefined)
      this.#stopWriting(writing, error ?? new StatusError(Code.Cancelled, `SPDY: stream ${this.id} was closed`));
  }

  #stopWriting(writing: Writing, error: Error): void {
    if (this.#writing === writing) this.#writing = undefined;
    writing.error ??= error;
    settle(writing);
  }

  /** A write that fails destroys the stream, and with it what somebody is still reading. */
  #stopAfterReading(writing: Writing, error: Error): void {
    const hasReader = this.readableFlowing !== null || this.listenerCount("readable") > 0;
    if (this.readableEnded || !hasReader) this.#stopWriting(writing, error);
    else this.once("end", () => this.#stopWriting(writing, error));
  }

  #send(bytes: Buffer, done: (error?: Error | null) => void): void {
    const writing = { bytes, handedBytes: 0, sentBytes: 0, done };
    this.#writing = writing;
    if (this.#writeError === undefined) this.#host.pump(this);
    else this.#stopAfterReading(writing, this.#writeError);
  }

  #sendReset(status: number): void {
    if (this.#isReset) return;
    this.#isReset = true;
    this.#host.reset(this, status);
  }

  #deliver(): void {
    let taken = 0;
    while (this.#wantsMore && this.#queue.length > 0) {
      const data = this.#queue.shift()!;
      taken += data.length;
      this.#wantsMore = this.push(data);
    }
    this.unreadBytes -= taken;
    if (this.#remoteEnded && this.#queue.length === 0 && !this.#isEndPushed) {
      this.#isEndPushed = true;
      this.push(null);
    }
    if (taken > 0 && !this.destroyed) this.#host.consumed(this, taken);
  }
}

/**
 * Calls the writer back once the transport has sent all that it was handed, after a failed write too: until then the
 * buffer is in use.
 */
function settle({ bytes, handedBytes, sentBytes, error, done }: Writing): void {
  if (sentBytes === handedBytes && (handedBytes === bytes.length || error !== undefined)) done(error);
}

/** The error of a stream that the peer has reset. */
export function resetError(id: number, status: number): StatusError {
  return new StatusError(
    status === RstStatus.refusedStream ? Code.ResourceExhausted : Code.Aborted,
    `SPDY: the peer reset stream ${id}: ${rstStatusName(status)}`,
  );
}
