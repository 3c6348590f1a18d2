import { maxStreamId } from "./frame.ts";
import type { SpdyStream } from "./stream.ts";

/** The open streams of a session, and the numbers of those to come (SPDY/3.1, 2.3.2). */
export class StreamTable implements Iterable<SpdyStream> {
  readonly #streams = new Map<number, SpdyStream>();
  readonly #isClient: boolean;
  #nextId: number;
  #lastPeerId = 0;
  #peerStreams = 0;

  /** The client's streams have odd numbers. */
  constructor(isClient: boolean) {
    this.#isClient = isClient;
    this.#nextId = isClient ? 1 : 2;
  }

  /** Streams of both sides that are open, half or whole. */
  get size(): number {
    return this.#streams.size;
  }

  /** How many of them the peer has opened. */
  get peerStreams(): number {
    return this.#peerStreams;
  }

  /** The last stream that the peer has opened, 0 before the first. */
  get lastPeerId(): number {
    return this.#lastPeerId;
  }

  [Symbol.iterator](): Iterator<SpdyStream> {
    return this.#streams.values();
  }

  get(id: number): SpdyStream | undefined {
    return this.#streams.get(id);
  }

  add(stream: SpdyStream): void {
    this.#streams.set(stream.id, stream);
    if (this.isPeers(stream.id)) this.#peerStreams += 1;
  }

  /** False when it was gone before. */
  delete(id: number): boolean {
    if (!this.#streams.delete(id)) return false;
    if (this.isPeers(id)) this.#peerStreams -= 1;
    return true;
  }

  /** A number for a stream of ours; undefined when all are used. */
  takeId(): number | undefined {
    if (this.#nextId > maxStreamId) return undefined;
    const id = this.#nextId;
    this.#nextId += 2;
    return id;
  }

  /** Records that the peer opens this stream. False when it may not: its numbers have its parity and go up. */
  takePeerId(id: number): boolean {
    if (!this.isPeers(id) || id <= this.#lastPeerId) return false;
    this.#lastPeerId = id;
    return true;
  }

  /** Whether the peer opens the streams with such a number. */
  isPeers(id: number): boolean {
    return (id % 2 === 1) !== this.#isClient;
  }

  /** Whether a stream with this number was ever opened. */
  wasOpened(id: number): boolean {
    return this.isPeers(id) ? id <= this.#lastPeerId : id < this.#nextId;
  }
}
