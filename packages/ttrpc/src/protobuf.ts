import { isUtf8 } from "node:buffer";

/** How a field's value is encoded (Protocol Buffers: Encoding). */
const WireType = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

/** Reads the fields of one message in turn. Throws the error that `fail` makes of what is wrong. */
export class FieldReader {
  readonly #bytes: Buffer;
  readonly #fail: (what: string) => Error;
  #at = 0;
  #wireType = 0;

  constructor(bytes: Buffer, fail: (what: string) => Error) {
    this.#bytes = bytes;
    this.#fail = fail;
  }

  /** The next field's number; undefined at the end. One of the other methods then reads or skips its value. */
  next(): number | undefined {
    if (this.#at === this.#bytes.length) return undefined;
    const tag = this.#uint();
    const field = Math.floor(tag / 8);
    if (tag > 0xffffffff || field === 0) throw this.#fail(`has a field of number ${field}`);
    this.#wireType = tag % 8;
    return field;
  }

  /** An int32 or int64; a longer value is cut to 64 bits. */
  signed(): bigint {
    this.#want(WireType.varint);
    const start = this.#at;
    const value = this.#uint();
    if (value <= Number.MAX_SAFE_INTEGER) return BigInt(value);
    const sevens = this.#bytes.subarray(start, this.#at);
    return BigInt.asIntN(
      64,
      sevens.reduceRight((sum, byte) => (sum << 7n) | BigInt(byte & 0x7f), 0n),
    );
  }

  /** A part of the message, not a copy. */
  bytes(): Buffer {
    this.#want(WireType.bytes);
    return this.#take(this.#uint());
  }

  text(): string {
    const bytes = this.bytes();
    if (!isUtf8(bytes)) throw this.#fail("has a string that is not UTF-8");
    return bytes.toString();
  }

  /** Skips an unknown field, as later versions may have more. */
  skip(): void {
    switch (this.#wireType) {
      case WireType.varint:
        this.#uint();
        return;
      case WireType.fixed64:
        this.#take(8);
        return;
      case WireType.bytes:
        this.#take(this.#uint());
        return;
      case WireType.fixed32:
        this.#take(4);
        return;
      default:
        throw this.#fail(`has a field of wire type ${this.#wireType}`);
    }
  }

  #want(wireType: number): void {
    if (this.#wireType !== wireType) throw this.#fail(`has wire type ${this.#wireType} where ${wireType} belongs`);
  }

  #take(length: number): Buffer {
    if (length > this.#bytes.length - this.#at) throw this.#fail("ends within a field");
    const part = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return part;
  }

  /** Exact up to 2^53; a larger one is still larger than anything that it is compared with. */
  #uint(): number {
    let value = 0;
    for (let i = 0; i < 10; i += 1) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    throw this.#fail("has a number of more than 64 bits");
  }

  #byte(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw this.#fail("ends within a field");
    this.#at += 1;
    return byte;
  }
}

/** Collects the fields of one message. Empty values are left out, as proto3 demands. */
export class FieldWriter {
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  signed(field: number, value: bigint): this {
    if (value === 0n) return this;
    this.#tag(field, WireType.varint);
    return this.#varint(BigInt.asUintN(64, value));
  }

  text(field: number, value: string): this {
    return this.bytes(field, Buffer.from(value));
  }

  bytes(field: number, value: Uint8Array): this {
    return value.length === 0 ? this : this.message(field, value);
  }

  /** Like `bytes`, but an empty message is not left out. */
  message(field: number, value: Uint8Array): this {
    this.#tag(field, WireType.bytes);
    this.#varint(BigInt(value.length));
    return this.#add(value);
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts, this.#length);
  }

  #tag(field: number, wireType: number): void {
    this.#varint(BigInt(field * 8 + wireType));
  }

  #varint(value: bigint): this {
    const bytes: number[] = [];
    for (let left = value; ; left >>= 7n) {
      if (left < 0x80n) {
        bytes.push(Number(left));
        return this.#add(Uint8Array.from(bytes));
      }
      bytes.push(Number(left & 0x7fn) | 0x80);
    }
  }

  #add(part: Uint8Array): this {
    this.#parts.push(part);
    this.#length += part.length;
    return this;
  }
}
