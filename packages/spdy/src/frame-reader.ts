import { Code, StatusError } from "@keelson/base/status.ts";
import { flagFin, flagUnidirectional, type Frame, FrameType, settingInitialWindowSize } from "./frame.ts";

const version = 3;

/** What is being read: a frame's head, the rest of a control frame, or data, which is passed on as it comes. */
type Reading =
  | { readonly is: "head" }
  | { readonly is: "control"; readonly frameType: number; readonly flags: number; readonly lengthBytes: number }
  | { readonly is: "data"; readonly streamId: number; readonly isFin: boolean; leftBytes: number };

/** Cuts a stream of bytes into frames. It never holds more than one control frame. */
export class FrameReader {
  readonly #maxControlBytes: number;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #reading: Reading = { is: "head" };

  /** @param maxControlBytes how long a control frame may be. */
  constructor(maxControlBytes: number) {
    this.#maxControlBytes = maxControlBytes;
  }

  /**
   * The frames that these bytes complete. Throws InvalidArgument or ResourceExhausted when they are not frames; nothing
   * can be read after that.
   */
  *read(bytes: Buffer): Generator<Frame, void, void> {
    let at = 0;
    while (at < bytes.length || this.#isDataDone()) {
      const reading = this.#reading;
      if (reading.is === "data") {
        const data = bytes.subarray(at, at + reading.leftBytes);
        at += data.length;
        reading.leftBytes -= data.length;
        const isLast = reading.leftBytes === 0;
        if (isLast) this.#reading = { is: "head" };
        yield { type: "data", streamId: reading.streamId, data, isFin: isLast && reading.isFin };
        continue;
      }
      const wantedBytes = reading.is === "head" ? 8 : reading.lengthBytes;
      const part = bytes.subarray(at, at + wantedBytes - this.#heldBytes);
      at += part.length;
      this.#held.push(part);
      this.#heldBytes += part.length;
      if (this.#heldBytes < wantedBytes) {
        // Copied: it may be a small part of a large block.
        this.#held.push(Buffer.from(this.#held.pop()!));
        return;
      }
      const whole = this.#held.length === 1 ? part : Buffer.concat(this.#held);
      this.#held = [];
      this.#heldBytes = 0;
      if (reading.is === "head") {
        this.#reading = this.#head(whole);
        continue;
      }
      this.#reading = { is: "head" };
      const frame = controlFrame(reading.frameType, reading.flags, whole);
      if (frame !== undefined) yield frame;
    }
  }

  /** An empty data frame has no byte to wait for. */
  #isDataDone(): boolean {
    return this.#reading.is === "data" && this.#reading.leftBytes === 0;
  }

  #head(head: Buffer): Reading {
    const word = head.readUInt32BE(0);
    const flags = head[4]!;
    const lengthBytes = head.readUIntBE(5, 3);
    if (word < 0x80000000) {
      if (word === 0) throw malformed("data for stream 0");
      return { is: "data", streamId: word, isFin: (flags & flagFin) !== 0, leftBytes: lengthBytes };
    }
    const given = (word >>> 16) & 0x7fff;
    if (given !== version) throw malformed(`a control frame of version ${given}`);
    if (lengthBytes > this.#maxControlBytes) {
      throw new StatusError(
        Code.ResourceExhausted,
        `SPDY: the peer sent a control frame of ${lengthBytes} bytes; the limit is ${this.#maxControlBytes}`,
      );
    }
    if (lengthBytes === 0) throw malformed("an empty control frame");
    return { is: "control", frameType: word & 0xffff, flags, lengthBytes };
  }
}

/** Undefined for a type that is not known: SPDY/3.1, 2.2.1 wants it ignored. */
function controlFrame(type: number, flags: number, body: Buffer): Frame | undefined {
  const isFin = (flags & flagFin) !== 0;
  switch (type) {
    case FrameType.synStream:
      need(body.length >= 10, "SYN_STREAM");
      return {
        type: "synStream",
        streamId: idAt(body, 0, "SYN_STREAM"),
        isFin,
        isUnidirectional: (flags & flagUnidirectional) !== 0,
        headerBlock: body.subarray(10),
      };
    case FrameType.synReply:
      need(body.length >= 4, "SYN_REPLY");
      return { type: "synReply", streamId: idAt(body, 0, "SYN_REPLY"), isFin, headerBlock: body.subarray(4) };
    case FrameType.headers:
      need(body.length >= 4, "HEADERS");
      return { type: "headers", streamId: idAt(body, 0, "HEADERS"), isFin, headerBlock: body.subarray(4) };
    case FrameType.rstStream:
      need(body.length === 8, "RST_STREAM");
      return { type: "rstStream", streamId: idAt(body, 0, "RST_STREAM"), status: body.readUInt32BE(4) };
    case FrameType.settings:
      return { type: "settings", initialWindowBytes: initialWindowOf(body) };
    case FrameType.ping:
      need(body.length === 4, "PING");
      return { type: "ping", id: body.readUInt32BE(0) };
    case FrameType.goAway:
      need(body.length === 8, "GOAWAY");
      return { type: "goAway", lastStreamId: body.readUInt32BE(0) & 0x7fffffff, status: body.readUInt32BE(4) };
    case FrameType.windowUpdate: {
      need(body.length === 8, "WINDOW_UPDATE");
      const deltaBytes = body.readUInt32BE(4) & 0x7fffffff;
      return { type: "windowUpdate", streamId: body.readUInt32BE(0) & 0x7fffffff, deltaBytes };
    }
    default:
      return undefined;
  }
}

function initialWindowOf(body: Buffer): number | undefined {
  need(body.length >= 4 && body.length === 4 + 8 * body.readUInt32BE(0), "SETTINGS");
  let found: number | undefined;
  for (let at = 4; at < body.length; at += 8) {
    if (body.readUIntBE(at + 1, 3) === settingInitialWindowSize) found = body.readUInt32BE(at + 4) & 0x7fffffff;
  }
  return found;
}

function idAt(body: Buffer, at: number, name: string): number {
  const id = body.readUInt32BE(at) & 0x7fffffff;
  need(id !== 0, name);
  return id;
}

function need(isRight: boolean, name: string): void {
  if (!isRight) throw malformed(`a malformed ${name} frame`);
}

function malformed(what: string): StatusError {
  return new StatusError(Code.InvalidArgument, `SPDY: the peer sent ${what}`);
}
