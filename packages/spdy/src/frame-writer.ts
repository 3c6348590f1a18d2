import type { Duplex } from "node:stream";

/** What a peer may make us answer without reading any of it, in bytes. */
const maxAnswersBytes = 64 * 1024;

export type Sent = (error?: Error | null) => void;

/** Writes frames to a session's transport. */
export class FrameWriter {
  readonly #transport: Duplex;
  readonly #onUnreadAnswers: () => void;
  #answersBytes = 0;
  #isCorked = false;
  #isStopped = false;

  /** @param onUnreadAnswers called when the peer asks for more and more answers and reads none of them. */
  constructor(transport: Duplex, onUnreadAnswers: () => void) {
    this.#transport = transport;
    this.#onUnreadAnswers = onUnreadAnswers;
  }

  /** Whether the transport has enough for now. */
  get needsDrain(): boolean {
    return this.#transport.writableNeedDrain;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Frames from now on are dropped; what the transport has already still goes out. */
  stop(): void {
    this.#isStopped = true;
  }

  /** A data frame: its head, then its bytes. Not after `stop()`: `sent` would never be called. */
  data(head: Buffer, bytes: Buffer, sent: Sent): void {
    this.#write(head);
    this.#write(bytes, sent);
  }

  /** A control frame that we send of our own accord. */
  send(frame: Buffer): void {
    if (!this.#isStopped) this.#write(frame);
  }

  /** A control frame that the peer made us send; how many of these wait for a peer that does not read is limited. */
  answer(frame: Buffer, sent?: () => void): void {
    if (this.#isStopped) return;
    this.#answersBytes += frame.length;
    if (this.#answersBytes > maxAnswersBytes) {
      this.#onUnreadAnswers();
      return;
    }
    this.#write(frame, () => {
      this.#answersBytes -= frame.length;
      sent?.();
    });
  }

  /** What is written in one turn of the event loop goes out together. */
  #write(bytes: Buffer, sent?: Sent): void {
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#transport.cork();
      process.nextTick(() => {
        this.#isCorked = false;
        this.#transport.uncork();
      });
    }
    this.#transport.write(bytes, sent);
  }
}
