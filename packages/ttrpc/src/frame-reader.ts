import { Code, StatusError } from "@keelson/base/status.ts";
import { type Frame, headBytes, maxMessageBytes, MessageType } from "./frame.ts";

const types = new Map<number, keyof typeof MessageType>(
  Object.entries(MessageType).map(([name, type]) => [type, name as keyof typeof MessageType]),
);

/** How much memory a frame's data gets at first, in bytes; it grows as data arrives. */
const firstRoomBytes = 64 * 1024;

/** What is being read: a frame's head, its data, or data that is thrown away. */
type Reading =
  | { readonly is: "head" }
  | {
      readonly is: "data";
      readonly type: keyof typeof MessageType;
      readonly streamId: number;
      readonly flags: number;
      readonly lengthBytes: number;
    }
  | { readonly is: "skipped"; leftBytes: number };

/** Cuts a stream of bytes into frames. It holds at most twice as much as has arrived of one frame. */
export class FrameReader {
  #reading: Reading = { is: "head" };
  #held: Buffer = Buffer.alloc(headBytes);
  #heldBytes = 0;

  /** Whether a frame has begun and is not complete. */
  get isWithinFrame(): boolean {
    return this.#reading.is !== "head" || this.#heldBytes > 0;
  }

  /** The frames that these bytes complete, with copies of their data. Throws Internal for what is no frame; nothing can be read after that. */
  *read(bytes: Buffer): Generator<Frame, void, void> {
    let at = 0;
    while (at < bytes.length || this.#isEmptyData()) {
      const reading = this.#reading;
      if (reading.is === "skipped") {
        const skipped = Math.min(reading.leftBytes, bytes.length - at);
        at += skipped;
        reading.leftBytes -= skipped;
        if (reading.leftBytes === 0) this.#reading = { is: "head" };
        continue;
      }
      const wantedBytes = reading.is === "head" ? headBytes : reading.lengthBytes;
      const part = bytes.subarray(at, at + wantedBytes - this.#heldBytes);
      at += part.length;
      this.#hold(part, wantedBytes);
      if (this.#heldBytes < wantedBytes) return;
      this.#heldBytes = 0;
      if (reading.is === "head") {
        const next = this.#head();
        if (next !== undefined) yield next;
        continue;
      }
      const { type, streamId, flags } = reading;
      const data = this.#held.subarray(0, wantedBytes);
      this.#expectHead();
      yield { type, streamId, flags, data };
    }
  }

  #isEmptyData(): boolean {
    return this.#reading.is === "data" && this.#reading.lengthBytes === 0;
  }

  #hold(part: Buffer, wantedBytes: number): void {
    const neededBytes = this.#heldBytes + part.length;
    if (neededBytes > this.#held.length) {
      const room = Buffer.allocUnsafe(
        Math.min(wantedBytes, Math.max(neededBytes, 2 * this.#held.length, firstRoomBytes)),
      );
      this.#held.copy(room, 0, 0, this.#heldBytes);
      this.#held = room;
    }
    part.copy(this.#held, this.#heldBytes);
    this.#heldBytes = neededBytes;
  }

  #expectHead(): void {
    this.#reading = { is: "head" };
    this.#held = Buffer.allocUnsafe(headBytes);
  }

  /** Checks a head before any memory is allocated, and decides how to read what follows it. */
  #head(): Frame | undefined {
    const lengthBytes = this.#held.readUInt32BE(0);
    const streamId = this.#held.readUInt32BE(4);
    const type = types.get(this.#held[8]!);
    const flags = this.#held[9]!;
    if (this.#held[0] !== 0) {
      throw new StatusError(
        Code.Internal,
        `what the peer sent is no ttrpc frame: it begins with the bytes ${this.#held.toString("hex")}`,
      );
    }
    if (lengthBytes > maxMessageBytes || type === undefined) {
      if (lengthBytes > 0) this.#reading = { is: "skipped", leftBytes: lengthBytes };
      return lengthBytes > maxMessageBytes ? { type: "tooLong", streamId, lengthBytes } : undefined;
    }
    this.#reading = { is: "data", type, streamId, flags, lengthBytes };
    this.#held = Buffer.alloc(0);
    return undefined;
  }
}
