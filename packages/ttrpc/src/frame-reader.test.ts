import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { FrameReader } from "./frame-reader.ts";
import { type Frame, frame, maxMessageBytes } from "./frame.ts";

type Whole = Exclude<Frame, { type: "tooLong" }>;
const anyFrame: fc.Arbitrary<Whole> = fc.record(
  {
    type: fc.constantFrom("request", "response", "data"),
    streamId: fc.integer({ min: 0, max: 0xffffffff }),
    flags: fc.integer({ min: 0, max: 255 }),
    data: fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array)),
  },
  { noNullPrototype: true },
);
const bytesOf = ({ type, streamId, flags, data }: Whole) => frame(type, streamId, flags, data);

/** The head of a frame, or of something else. */
function head(lengthBytes: number, streamId = 1, type = 1, flags = 0): Buffer {
  const bytes = Buffer.alloc(10);
  bytes.writeUInt32BE(lengthBytes, 0);
  bytes.writeUInt32BE(streamId, 4);
  bytes[8] = type;
  bytes[9] = flags;
  return bytes;
}

test("a frame is as the protocol draws it", () => {
  assert.equal(frame("data", 0x01020305, 5, Buffer.from("hi")).toString("hex"), "000000020102030503056869");
});

test("frames come out as they went in, however the bytes are cut", () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 20 }), fc.integer({ min: 1, max: 400 }), (frames, step) => {
      const all = Buffer.concat(frames.map(bytesOf));
      const reader = new FrameReader();
      const read: Frame[] = [];
      for (let at = 0; at < all.length; at += step) {
        const chunk = Buffer.from(all.subarray(at, at + step));
        read.push(...reader.read(chunk));
        // The transport may reuse its memory.
        chunk.fill(0);
      }
      assert.deepEqual(read, frames);
      assert.equal(reader.isWithinFrame, false);
    }),
  );
});

test("the longest frame is read; of a longer one the head is reported and the data discarded", () => {
  const longest = frame("request", 1, 0, Buffer.alloc(maxMessageBytes, "x"));
  const reader = new FrameReader();
  const [read] = reader.read(longest);
  assert.ok(read?.type === "request" && read.data.equals(longest.subarray(10)));
  assert.deepEqual(
    [...reader.read(head(maxMessageBytes + 1, 7))],
    [{ type: "tooLong", streamId: 7, lengthBytes: maxMessageBytes + 1 }],
  );
  const rest = Buffer.concat([Buffer.alloc(maxMessageBytes + 1), frame("data", 9, 1, Buffer.alloc(0))]);
  assert.deepEqual([...reader.read(rest)], [{ type: "data", streamId: 9, flags: 1, data: Buffer.alloc(0) }]);
});

test("data that is only announced takes no memory, and data that comes byte by byte takes little", () => {
  const before = process.memoryUsage();
  const readers = Array.from({ length: 2000 }, () => new FrameReader());
  for (const reader of readers)
    for (const byte of [head(maxMessageBytes), Buffer.from("x")]) assert.deepEqual([...reader.read(byte)], []);
  const after = process.memoryUsage();
  // What was announced adds up to 8 GB.
  assert.ok(after.arrayBuffers - before.arrayBuffers < 200e6, `${after.arrayBuffers - before.arrayBuffers} bytes`);
  const slow = new FrameReader();
  for (const byte of head(1_000_000)) assert.deepEqual([...slow.read(Buffer.of(byte))], []);
  const one = Buffer.of(1);
  const startedMs = performance.now();
  for (let i = 1; i < 1_000_000; i += 1) for (const _ of slow.read(one)) assert.fail();
  assert.equal([...slow.read(one)].length, 1);
  assert.ok(performance.now() - startedMs < 5000);
});

test("frames of an unknown type are skipped", () => {
  const reader = new FrameReader();
  const unknown = Buffer.concat([head(3, 1, 9), Buffer.from("abc"), head(0, 1, 0)]);
  assert.deepEqual(
    [...reader.read(Buffer.concat([unknown, frame("data", 1, 0, Buffer.from("x"))]))],
    [{ type: "data", streamId: 1, flags: 0, data: Buffer.from("x") }],
  );
});

test("another protocol is recognised by the first byte that shows it", () => {
  for (const text of [
    "GET / HTTP/1.1\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
  ]) {
    assert.throws(
      () => [...new FrameReader().read(Buffer.from(text, "latin1"))],
      (e: unknown) => e instanceof StatusError && e.code === Code.Internal && e.message.includes("no ttrpc frame"),
    );
  }
});

test("an incomplete frame is known to have begun", () => {
  fc.assert(
    fc.property(anyFrame, (whole) => {
      const bytes = bytesOf(whole);
      for (let length = 1; length < bytes.length; length += 1) {
        const reader = new FrameReader();
        assert.deepEqual([...reader.read(bytes.subarray(0, length))], []);
        assert.ok(reader.isWithinFrame);
      }
    }),
    { numRuns: 30 },
  );
});

test("any flipped bit and any noise gives frames or a StatusError", () => {
  const survives = (bytes: Buffer) => {
    try {
      const frames = [...new FrameReader().read(bytes)];
      assert.ok(frames.length <= bytes.length / 10);
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
    }
  };
  fc.assert(
    fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 3 }), (frames) => {
      const all = Buffer.concat(frames.map(bytesOf));
      for (let bit = 0; bit < all.length * 8; bit += 3) {
        const flipped = Buffer.from(all);
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        survives(flipped);
      }
    }),
    { numRuns: 50 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => survives(Buffer.from(noise))),
    { numRuns: 2000 },
  );
});
