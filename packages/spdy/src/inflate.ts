import { Code, StatusError } from "@keelson/base/status.ts";

/** How far back a copy may reach, RFC 1951. */
const windowBytes = 32 * 1024;
const maxCodeBits = 15;

/** RFC 1951, 3.2.5: the first length or distance of each code, and how many extra bits follow. */
const lengthBase = [
  3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258,
];
const lengthBits = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const distanceBase = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
  8193, 12289, 16385, 24577,
];
const distanceBits = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
/** 3.2.7: the order in which the lengths of the code-length codes come. */
const codeLengthOrder = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** A canonical Huffman code: how many codes there are of each length, and their symbols in order. */
interface Huffman {
  readonly counts: Uint16Array;
  readonly symbols: Uint16Array;
}

/** Thrown when the input ends within a block, which is read again when there is more. */
const isShort = Symbol("short");

/**
 * Decompresses the header blocks of one direction of a session: one zlib stream (RFC 1950, 1951) that is flushed after
 * each block. Synchronous, unlike node:zlib, so that frames keep their order, and with a limit for each call.
 */
export class Inflater {
  readonly #dictionary: Uint8Array;
  readonly #maxBytes: number;
  #history: Buffer;
  #input: Buffer = Buffer.alloc(0);
  #position = 0;
  #bits = 0;
  #bitCount = 0;
  #output: Buffer = Buffer.alloc(0);
  #length = 0;
  #hasHeader = false;

  /** @param maxBytes the most that one call may return. */
  constructor(dictionary: Uint8Array, maxBytes: number) {
    this.#dictionary = dictionary;
    this.#maxBytes = maxBytes;
    this.#history = Buffer.from(dictionary);
  }

  /**
   * Decompresses a piece of the stream that ends with a flush. Throws InvalidArgument, or ResourceExhausted beyond
   * `maxBytes`; the stream cannot be used after that.
   */
  inflate(piece: Uint8Array): Buffer {
    this.#input = Buffer.concat([this.#input.subarray(this.#position), piece]);
    this.#position = 0;
    const start = this.#history.length;
    this.#output = Buffer.alloc(start + 4096);
    this.#history.copy(this.#output);
    this.#length = start;
    if (!this.#hasHeader) this.#readHeader();
    while (this.#block(start));
    // The beginning of a block is kept for the next piece. A block that is larger than any output may be never ends.
    if (this.#input.length - this.#position > this.#maxBytes) throw malformed("a block that does not end");
    const result = Buffer.from(this.#output.subarray(start, this.#length));
    this.#history = Buffer.from(this.#output.subarray(Math.max(0, this.#length - windowBytes), this.#length));
    this.#output = Buffer.alloc(0);
    return result;
  }

  /** RFC 1950, 2.2: the method, deflate, and the dictionary by its checksum. */
  #readHeader(): void {
    if (this.#input.length < 6) throw malformed("no zlib header");
    const head = this.#input.readUInt16BE(0);
    if (((head >> 8) & 0xf) !== 8 || head % 31 !== 0) throw malformed("no zlib header");
    if ((head & 0x20) === 0 || this.#input.readUInt32BE(2) !== adler32(this.#dictionary))
      throw malformed("another dictionary than SPDY/3's");
    this.#position = 6;
    this.#hasHeader = true;
  }

  /** Reads one block. False, with nothing read, when it is not complete. */
  #block(start: number): boolean {
    const before = { position: this.#position, bits: this.#bits, bitCount: this.#bitCount, length: this.#length };
    try {
      if (this.#take(1) === 1) throw malformed("a last block, but the headers of a session never end");
      const type = this.#take(2);
      if (type === 0) this.#stored(start);
      else if (type === 1) this.#compressed(start, fixedLengths, fixedDistances);
      else if (type === 2) this.#compressed(start, ...this.#dynamicCodes());
      else throw malformed("a block of an unknown type");
      return true;
    } catch (error) {
      if (error !== isShort) throw error;
      this.#position = before.position;
      this.#bits = before.bits;
      this.#bitCount = before.bitCount;
      this.#length = before.length;
      return false;
    }
  }

  #stored(start: number): void {
    this.#bits = 0;
    this.#bitCount = 0;
    if (this.#position + 4 > this.#input.length) throw isShort;
    const length = this.#input.readUInt16LE(this.#position);
    if ((this.#input.readUInt16LE(this.#position + 2) ^ 0xffff) !== length)
      throw malformed("a stored block whose lengths differ");
    const from = this.#position + 4;
    if (from + length > this.#input.length) throw isShort;
    this.#reserve(start, length);
    this.#input.copy(this.#output, this.#length, from, from + length);
    this.#length += length;
    this.#position = from + length;
  }

  #compressed(start: number, lengths: Huffman, distances: Huffman): void {
    for (;;) {
      const symbol = this.#symbol(lengths);
      if (symbol === 256) return;
      if (symbol < 256) {
        this.#reserve(start, 1);
        this.#output[this.#length++] = symbol;
        continue;
      }
      const length = this.#valueOf(symbol - 257, lengthBase, lengthBits);
      const distance = this.#valueOf(this.#symbol(distances), distanceBase, distanceBits);
      if (distance > this.#length) throw malformed("a copy from before the beginning");
      this.#reserve(start, length);
      for (let i = 0; i < length; i += 1, this.#length += 1)
        this.#output[this.#length] = this.#output[this.#length - distance]!;
    }
  }

  #valueOf(code: number, bases: readonly number[], bits: readonly number[]): number {
    const base = bases[code];
    if (base === undefined) throw malformed("a length or distance that does not exist");
    return base + this.#take(bits[code]!);
  }

  #dynamicCodes(): [Huffman, Huffman] {
    const lengthCount = this.#take(5) + 257;
    const distanceCount = this.#take(5) + 1;
    const codeCount = this.#take(4) + 4;
    if (lengthCount > 286 || distanceCount > 30) throw malformed("more codes than exist");
    const codeLengths = new Uint8Array(19);
    for (let i = 0; i < codeCount; i += 1) codeLengths[codeLengthOrder[i]!] = this.#take(3);
    const code = huffman(codeLengths);
    const all = new Uint8Array(lengthCount + distanceCount);
    for (let i = 0; i < all.length;) {
      const symbol = this.#symbol(code);
      if (symbol < 16) {
        all[i++] = symbol;
        continue;
      }
      if (symbol === 16 && i === 0) throw malformed("a repeated code length without a first");
      const value = symbol === 16 ? all[i - 1]! : 0;
      const times = symbol === 16 ? 3 + this.#take(2) : symbol === 17 ? 3 + this.#take(3) : 11 + this.#take(7);
      if (i + times > all.length) throw malformed("more code lengths than codes");
      all.fill(value, i, i + times);
      i += times;
    }
    return [huffman(all.subarray(0, lengthCount)), huffman(all.subarray(lengthCount))];
  }

  #symbol({ counts, symbols }: Huffman): number {
    let code = 0;
    let first = 0;
    let index = 0;
    for (let bits = 1; bits <= maxCodeBits; bits += 1) {
      code |= this.#take(1);
      const count = counts[bits]!;
      if (code - count < first) return symbols[index + code - first]!;
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    throw malformed("a code that does not exist");
  }

  #take(count: number): number {
    while (this.#bitCount < count) {
      if (this.#position >= this.#input.length) throw isShort;
      this.#bits |= this.#input[this.#position++]! << this.#bitCount;
      this.#bitCount += 8;
    }
    const value = this.#bits & ((1 << count) - 1);
    this.#bits >>>= count;
    this.#bitCount -= count;
    return value;
  }

  #reserve(start: number, count: number): void {
    const needed = this.#length + count;
    if (needed - start > this.#maxBytes)
      throw new StatusError(Code.ResourceExhausted, `SPDY: the peer sent headers of more than ${this.#maxBytes} bytes`);
    if (needed <= this.#output.length) return;
    const larger = Buffer.alloc(Math.max(needed, this.#output.length * 2));
    this.#output.copy(larger, 0, 0, this.#length);
    this.#output = larger;
  }
}

function huffman(lengths: Uint8Array): Huffman {
  const counts = new Uint16Array(maxCodeBits + 1);
  for (const length of lengths) counts[length]! += 1;
  counts[0] = 0;
  let left = 1;
  for (let bits = 1; bits <= maxCodeBits; bits += 1) {
    left = left * 2 - counts[bits]!;
    if (left < 0) throw malformed("more codes than their lengths have room for");
  }
  const offsets = new Uint16Array(maxCodeBits + 2);
  for (let bits = 1; bits <= maxCodeBits; bits += 1) offsets[bits + 1] = offsets[bits]! + counts[bits]!;
  const symbols = new Uint16Array(lengths.length);
  lengths.forEach((length, symbol) => {
    if (length > 0) symbols[offsets[length]!++] = symbol;
  });
  return { counts, symbols };
}

/** RFC 1951, 3.2.6. */
const fixedLengths = huffman(Uint8Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8)));
const fixedDistances = huffman(new Uint8Array(30).fill(5));

/** RFC 1950, 8.2. */
export function adler32(bytes: Uint8Array): number {
  let a = 1;
  let b = 0;
  for (const byte of bytes) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  return ((b << 16) | a) >>> 0;
}

function malformed(what: string): StatusError {
  return new StatusError(Code.InvalidArgument, `SPDY: compressed headers have ${what}`);
}
