import { Code, StatusError } from "@keelson/base/status.ts";
import { headerDictionary } from "./dictionary.ts";
import { adler32, Inflater } from "./inflate.ts";

/** Names in lower case; the values of a repeated header are joined with NUL (SPDY/3.1, 2.6.10). */
export type Headers = ReadonlyMap<string, string>;

/** Writes the header blocks of one direction of a session. */
export class HeaderWriter {
  #isFirst = true;

  /**
   * Writes stored blocks, which every inflater reads: compressing the few bytes of a stream's headers saves nothing,
   * takes a quarter of a megabyte for each session, and lets lengths leak secrets (CRIME). Throws RangeError beyond
   * 64 KiB.
   */
  write(headers: Readonly<Record<string, string>>): Buffer {
    const pairs = Object.entries(headers);
    const block = Buffer.concat([
      uint32(pairs.length),
      ...pairs.flatMap(([name, value]) => [withLength(name.toLowerCase()), withLength(value)]),
    ]);
    if (block.length > 0xffff) throw new RangeError(`headers have ${block.length} bytes; the limit is 65535`);
    const stored = Buffer.alloc(5);
    stored.writeUInt16LE(block.length, 1);
    stored.writeUInt16LE(block.length ^ 0xffff, 3);
    // A flush in the sense of zlib is an empty stored block; some readers wait for it.
    const parts: Buffer[] = [stored, block, Buffer.from([0, 0, 0, 0xff, 0xff])];
    if (this.#isFirst) parts.unshift(Buffer.from([0x78, 0xbb]), uint32(adler32(headerDictionary)));
    this.#isFirst = false;
    return Buffer.concat(parts);
  }
}

/** Reads the header blocks of one direction of a session. None may be left out: they are compressed as one stream. */
export class HeaderReader {
  readonly #inflater: Inflater;

  /** @param maxBytes the most that one block may have when decompressed. */
  constructor(maxBytes: number) {
    this.#inflater = new Inflater(headerDictionary, maxBytes);
  }

  /** Throws InvalidArgument or ResourceExhausted; the session cannot be used after that. */
  read(block: Uint8Array): Headers {
    const bytes = this.#inflater.inflate(block);
    let at = 0;
    const number = (): number => {
      if (at + 4 > bytes.length) throw malformed("end early");
      at += 4;
      return bytes.readUInt32BE(at - 4);
    };
    const text = (): string => {
      const length = number();
      if (length > bytes.length - at) throw malformed("end early");
      at += length;
      return bytes.toString("latin1", at - length, at);
    };
    const headers = new Map<string, string>();
    for (let left = number(); left > 0; left -= 1) {
      const name = text().toLowerCase();
      if (name === "") throw malformed("have an empty name");
      if (headers.has(name)) throw malformed("have a name twice");
      headers.set(name, text());
    }
    if (at !== bytes.length) throw malformed("have more bytes than they say");
    return headers;
  }
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function withLength(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  return Buffer.concat([uint32(bytes.length), bytes]);
}

function malformed(how: string): StatusError {
  return new StatusError(Code.InvalidArgument, `SPDY: headers ${how}`);
}
