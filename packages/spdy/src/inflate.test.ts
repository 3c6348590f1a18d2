import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { constants, createDeflate, type ZlibOptions } from "node:zlib";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { headerDictionary } from "./dictionary.ts";
import { Inflater } from "./inflate.ts";

/** Each text as one flushed piece of a zlib stream. */
async function deflated(texts: readonly Uint8Array[], options: ZlibOptions, flush: number): Promise<Buffer[]> {
  const deflate = createDeflate({ dictionary: headerDictionary, ...options });
  const chunks: Buffer[] = [];
  deflate.on("data", (chunk: Buffer) => chunks.push(chunk));
  const pieces: Buffer[] = [];
  for (const text of texts) {
    deflate.write(text);
    await new Promise<void>((resolve) => deflate.flush(flush, resolve));
    await new Promise((resolve) => setImmediate(resolve));
    pieces.push(Buffer.concat(chunks.splice(0)));
  }
  deflate.destroy();
  return pieces;
}

test("the dictionary is the protocol's", () => {
  assert.equal(headerDictionary.length, 1423);
  assert.equal(
    createHash("sha256").update(headerDictionary).digest("hex"),
    "51d27341373f923f3cd88e1eb7162aeaa3723d7585ff2399201dc06498407f02",
  );
});

test("whatever zlib compresses, with any options, comes out as it was", async () => {
  const words = fc
    .array(fc.constantFrom("content-length", "streamtype", "stdin", "200 OK", "\0\0\0\u0004", "x".repeat(300), "zzz"), {
      maxLength: 40,
    })
    .map((list) => Buffer.from(list.join("")));
  const text = fc.oneof(
    words,
    fc.uint8Array({ maxLength: 3000 }).map((bytes) => Buffer.from(bytes)),
  );
  const options = fc.record({
    level: fc.integer({ min: 0, max: 9 }),
    strategy: fc.constantFrom(
      constants.Z_DEFAULT_STRATEGY,
      constants.Z_FIXED,
      constants.Z_HUFFMAN_ONLY,
      constants.Z_RLE,
    ),
    windowBits: fc.integer({ min: 9, max: 15 }),
    memLevel: fc.integer({ min: 1, max: 9 }),
  });
  const flushes = fc.constantFrom(constants.Z_SYNC_FLUSH, constants.Z_FULL_FLUSH);
  await fc.assert(
    fc.asyncProperty(
      fc.array(text, { minLength: 1, maxLength: 5 }),
      options,
      flushes,
      async (texts, options, flush) => {
        const inflater = new Inflater(headerDictionary, 64 * 1024);
        const pieces = await deflated(texts, options, flush);
        assert.deepEqual(
          pieces.map((piece) => inflater.inflate(piece).toString("latin1")),
          texts.map((text) => text.toString("latin1")),
        );
      },
    ),
    { numRuns: 150 },
  );
});

test("a partial flush, which ends within a byte, loses nothing", async () => {
  const texts = Array.from({ length: 20 }, (_, i) => Buffer.from(`stream ${i} of type ${"stdout".repeat(i)}`));
  const inflater = new Inflater(headerDictionary, 64 * 1024);
  const pieces = await deflated(texts, {}, constants.Z_PARTIAL_FLUSH);
  assert.equal(pieces.map((piece) => inflater.inflate(piece).toString()).join(""), texts.join(""));
});

test("copies reach back through earlier pieces, 32 KiB and no further", async () => {
  const noise = Buffer.from(Array.from({ length: 20_000 }, (_, i) => (i * 7919) % 251));
  const texts = [noise, Buffer.from("a".repeat(10_000)), noise, noise];
  const inflater = new Inflater(headerDictionary, 64 * 1024);
  for (const [i, piece] of (await deflated(texts, { level: 9 }, constants.Z_SYNC_FLUSH)).entries())
    assert.deepEqual(inflater.inflate(piece), texts[i]);
});

test("a bomb is refused at the limit", async () => {
  const [bomb] = await deflated([Buffer.alloc(50 * 1024 * 1024)], { level: 9 }, constants.Z_SYNC_FLUSH);
  assert.ok(bomb!.length < 100_000);
  assert.throws(
    () => new Inflater(headerDictionary, 16 * 1024).inflate(bomb!),
    (e: unknown) => e instanceof StatusError && e.code === Code.ResourceExhausted,
  );
});

test("a block that never ends is refused", () => {
  const inflater = new Inflater(headerDictionary, 1000);
  const stored = Buffer.concat([Buffer.from([0x78, 0xbb]), adler(), Buffer.from([0, 0xff, 0xff, 0, 0])]);
  inflater.inflate(stored);
  assert.throws(() => {
    for (let i = 0; i < 100; i += 1) inflater.inflate(Buffer.alloc(100));
  }, StatusError);
});

test("any truncation and any flipped bit gives a result or a StatusError, in bounded memory", async () => {
  const texts = [
    Buffer.from("\0\0\0\u0001\0\0\0\u0004name\0\0\0\u0005value".repeat(20)),
    Buffer.from("again and again and again"),
  ];
  for (const strategy of [constants.Z_DEFAULT_STRATEGY, constants.Z_FIXED]) {
    const [piece] = await deflated(texts, { strategy }, constants.Z_SYNC_FLUSH);
    for (let length = 0; length < piece!.length; length += 1) survives(piece!.subarray(0, length));
    for (let bit = 0; bit < piece!.length * 8; bit += 1) {
      const flipped = Buffer.from(piece!);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      survives(flipped);
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) =>
      survives(Buffer.concat([Buffer.from([0x78, 0xbb]), adler(), bytes])),
    ),
    { numRuns: 2000 },
  );
});

test("another dictionary, no dictionary and what is not zlib are refused", () => {
  for (const bytes of [
    [],
    [0x78],
    [0x78, 0x9c, 0, 0, 0, 0],
    [0x78, 0xbb, 1, 2, 3, 4],
    [0x79, 0xbb, 1, 2, 3, 4],
    [1, 2, 3, 4, 5, 6],
  ]) {
    assert.throws(
      () => new Inflater(headerDictionary, 1000).inflate(Buffer.from(bytes)),
      (e: unknown) => e instanceof StatusError && e.code === Code.InvalidArgument,
    );
  }
});

function adler(): Buffer {
  return Buffer.from("e3c6a7c2", "hex");
}

function survives(bytes: Uint8Array): void {
  try {
    assert.ok(new Inflater(headerDictionary, 5000).inflate(bytes).length <= 5000);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error;
  }
}
