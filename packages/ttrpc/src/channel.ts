import type { Duplex } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { FrameReader } from "./frame-reader.ts";
import { type Frame, frame, type MessageType } from "./frame.ts";

/** The client or server that uses a channel. An error that `frame` throws ends the channel. */
export interface ChannelOwner {
  frame(frame: Frame): void;
  /** Called once: nothing comes or goes any more. */
  over(reason: StatusError): void;
}

/** How long the last frames may take to go out, in ms. */
const lastFramesMs = 5000;

/**
 * Frames over any duplex stream, which it owns. It never throws: it calls its owner's `over` once, and `closed` resolves
 * when the transport is closed.
 */
export class Channel {
  /** Resolves with undefined when we ended it in good order, else with what ended it. */
  readonly closed: Promise<StatusError | undefined>;
  readonly #transport: Duplex;
  readonly #owner: ChannelOwner;
  readonly #frames = new FrameReader();
  /** Those who wait for room to write, in the order of their turns. */
  readonly #turns = new Set<() => void>();
  #holds = 0;
  #isCorked = false;
  #isOver = false;
  #isEnding = false;
  #reason: StatusError | undefined;

  constructor(transport: Duplex, owner: ChannelOwner) {
    this.#transport = transport;
    this.#owner = owner;
    const { promise, resolve } = Promise.withResolvers<StatusError | undefined>();
    this.closed = promise;
    transport.on("data", (bytes: Buffer) => this.#read(bytes));
    transport.on("drain", () => this.#giveTurns());
    transport.on("end", () =>
      this.#peerEnded(
        this.#lost(`the peer closed the connection${this.#frames.isWithinFrame ? " within a frame" : ""}`),
      ),
    );
    transport.on("error", (error) => this.destroy(this.#lost(`the connection broke: ${messageOf(error)}`, error)));
    transport.on("close", () => {
      this.destroy(this.#lost("the connection is closed"));
      resolve(this.#reason);
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Why nothing can be sent any more. */
  get reason(): StatusError {
    return this.#reason ?? new StatusError(Code.Unavailable, "ttrpc: the connection was closed");
  }

  /** Whether the peer should read before more is sent. */
  get isFull(): boolean {
    return this.#transport.writableNeedDrain;
  }

  /** Sends a frame, even when the channel is full (see `turn`). All frames of one turn of the event loop go out together. */
  send(type: keyof typeof MessageType, streamId: number, flags: number, data: Uint8Array): void {
    if (this.#isOver) return;
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#transport.cork();
      process.nextTick(() => {
        this.#isCorked = false;
        this.#transport.uncork();
      });
    }
    this.#transport.write(frame(type, streamId, flags, data));
  }

  /** Calls back, perhaps at once, when there is room for one `send`. Call the result to withdraw the request. */
  turn(go: () => void): () => void {
    if (this.#isOver || (!this.isFull && this.#turns.size === 0)) {
      go();
      return () => {};
    }
    const turn = () => go();
    this.#turns.add(turn);
    return () => void this.#turns.delete(turn);
  }

  /** Sends when there is room, and then resolves. Throws the signal's reason. */
  async sendInTurn(send: () => void, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const withdraw = this.turn(() => {
      send();
      resolve();
    });
    const onAbort = () => {
      withdraw();
      reject(signal.reason as Error);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** Stops reading until the results of all calls have been called. */
  hold(): () => void {
    let isHeld = true;
    this.#holds += 1;
    if (!this.#isOver) this.#transport.pause();
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#holds -= 1;
      if (this.#holds === 0) this.#transport.resume();
    };
  }

  /**
   * Lets the last frames go out, and reads on until the peer ends too: closing a socket with unread bytes may discard what
   * the peer has not read yet. A peer that does not end in time is cut off.
   */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#isEnding = true;
    this.#owner.over(this.reason);
    this.#giveTurns();
    const timer = setTimeout(() => this.#transport.destroy(), lastFramesMs);
    this.#transport.once("close", () => clearTimeout(timer));
    this.#transport.end(() => {
      if (this.#transport.readableEnded) this.#transport.destroy();
      else this.#transport.once("end", () => this.#transport.destroy());
    });
    this.#transport.resume();
  }

  /** Ends it at once. */
  destroy(reason: StatusError): void {
    if (!this.#isOver) {
      this.#isOver = true;
      this.#reason = reason;
      this.#owner.over(reason);
      this.#giveTurns();
    }
    this.#transport.destroy();
  }

  #peerEnded(reason: StatusError): void {
    // A channel that is ending still has its last frames to send.
    if (!this.#isEnding) this.destroy(reason);
  }

  #lost(what: string, cause?: unknown): StatusError {
    return new StatusError(Code.Unavailable, `ttrpc: ${what}`, cause);
  }

  #giveTurns(): void {
    for (const turn of this.#turns) {
      if (this.isFull && !this.#isOver) return;
      this.#turns.delete(turn);
      turn();
    }
  }

  #read(bytes: Buffer): void {
    if (this.#isOver) return;
    try {
      for (const frame of this.#frames.read(bytes)) {
        this.#owner.frame(frame);
        if (this.#isOver) return;
      }
    } catch (error) {
      this.destroy(this.#lost(`the connection was dropped: ${messageOf(error)}`, error));
    }
  }
}
