import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { FrameReader } from "./frame-reader.ts";
import {
  dataFrameHead,
  type Frame,
  FrameType,
  goAwayFrame,
  pingFrame,
  rstStreamFrame,
  settingsFrame,
  synReplyFrame,
  synStreamFrame,
  windowUpdateFrame,
} from "./frame.ts";
import { HeaderReader, HeaderWriter } from "./header-block.ts";

const maxControlBytes = 16 * 1024;
const id = fc.integer({ min: 1, max: 0x7fffffff });
const number = fc.integer({ min: 0, max: 0x7fffffff });
const bytes = fc.uint8Array({ maxLength: 100 }).map((array) => Buffer.from(array));
const isFin = fc.boolean();

/** We send no HEADERS frame; apart from its type it is the same as SYN_REPLY. */
function headersFrame(streamId: number, flags: number, headerBlock: Uint8Array): Buffer {
  const frame = synReplyFrame(streamId, flags, headerBlock);
  frame.writeUInt16BE(FrameType.headers, 2);
  return frame;
}

/** A frame and its bytes. */
const anyFrame: fc.Arbitrary<[Frame, Buffer]> = fc.oneof(
  fc
    .tuple(id, bytes, isFin)
    .map(([streamId, data, isFin]): [Frame, Buffer] => [
      { type: "data", streamId, data, isFin },
      Buffer.concat([dataFrameHead(streamId, data.length, isFin), data]),
    ]),
  fc
    .tuple(id, bytes, isFin, fc.boolean())
    .map(([streamId, headerBlock, isFin, isUnidirectional]): [Frame, Buffer] => [
      { type: "synStream", streamId, headerBlock, isFin, isUnidirectional },
      synStreamFrame(streamId, (isFin ? 1 : 0) | (isUnidirectional ? 2 : 0), headerBlock),
    ]),
  fc
    .tuple(id, bytes, isFin)
    .map(([streamId, headerBlock, isFin]): [Frame, Buffer] => [
      { type: "synReply", streamId, headerBlock, isFin },
      synReplyFrame(streamId, isFin ? 1 : 0, headerBlock),
    ]),
  fc
    .tuple(id, bytes, isFin)
    .map(([streamId, headerBlock, isFin]): [Frame, Buffer] => [
      { type: "headers", streamId, headerBlock, isFin },
      headersFrame(streamId, isFin ? 1 : 0, headerBlock),
    ]),
  fc
    .tuple(id, number)
    .map(([streamId, status]): [Frame, Buffer] => [
      { type: "rstStream", streamId, status },
      rstStreamFrame(streamId, status),
    ]),
  number.map((initialWindowBytes): [Frame, Buffer] => [
    { type: "settings", initialWindowBytes },
    settingsFrame(initialWindowBytes),
  ]),
  number.map((id): [Frame, Buffer] => [{ type: "ping", id }, pingFrame(id)]),
  fc
    .tuple(number, number)
    .map(([lastStreamId, status]): [Frame, Buffer] => [
      { type: "goAway", lastStreamId, status },
      goAwayFrame(lastStreamId, status),
    ]),
  fc
    .tuple(number, number)
    .map(([streamId, deltaBytes]): [Frame, Buffer] => [
      { type: "windowUpdate", streamId, deltaBytes },
      windowUpdateFrame(streamId, deltaBytes),
    ]),
);

/** The frames with the pieces of each data frame put together. */
function joined(frames: readonly Frame[]): Frame[] {
  const result: Frame[] = [];
  let open: { streamId: number; data: Buffer[] } | undefined;
  for (const frame of frames) {
    if (frame.type === "data" && (open !== undefined || !frame.isFin)) {
      // The tests that use this give every data frame a FIN.
      open ??= { streamId: frame.streamId, data: [] };
      open.data.push(frame.data);
      if (!frame.isFin) continue;
      result.push({ ...frame, data: Buffer.concat(open.data) });
      open = undefined;
    } else {
      result.push(frame);
    }
  }
  return result;
}

test("frames come out as they went in, however the bytes are cut", () => {
  const withFin = anyFrame.map(([frame, bytes]): [Frame, Buffer] => {
    if (frame.type !== "data") return [frame, bytes];
    const marked = Buffer.from(bytes);
    marked[4] = 1;
    return [{ ...frame, isFin: true }, marked];
  });
  fc.assert(
    fc.property(fc.array(withFin, { maxLength: 20 }), fc.integer({ min: 1, max: 200 }), (pairs, step) => {
      const all = Buffer.concat(pairs.map(([, bytes]) => bytes));
      const reader = new FrameReader(maxControlBytes);
      const frames: Frame[] = [];
      for (let at = 0; at < all.length; at += step)
        frames.push(...reader.read(Buffer.from(all.subarray(at, at + step))));
      assert.deepEqual(
        joined(frames),
        pairs.map(([frame]) => frame),
      );
    }),
  );
});

test("data is passed on as it comes and never held, even of the longest frame", () => {
  const reader = new FrameReader(maxControlBytes);
  assert.deepEqual([...reader.read(dataFrameHead(1, 0xffffff, true))], []);
  let length = 0;
  for (let i = 0; i < 255; i += 1)
    for (const frame of reader.read(Buffer.alloc(65536)))
      length += frame.type === "data" && !frame.isFin ? frame.data.length : NaN;
  assert.equal(length, 255 * 65536);
  const [last, ...rest] = reader.read(Buffer.alloc(65535));
  assert.ok(last?.type === "data" && last.isFin && rest.length === 0);
});

test("frames of an unknown type are skipped", () => {
  const unknown = Buffer.from(pingFrame(1));
  unknown[3] = 77;
  assert.deepEqual([...new FrameReader(100).read(Buffer.concat([unknown, pingFrame(3)]))], [{ type: "ping", id: 3 }]);
});

test("what is no frame is an error, and so is a control frame beyond the limit, before it is read", () => {
  const edit = (frame: Buffer, at: number, value: number) => {
    const copy = Buffer.from(frame);
    copy[at] = value;
    return copy;
  };
  const wrong = [
    Buffer.alloc(8), // data for stream 0
    edit(pingFrame(1), 1, 2), // version 2
    edit(pingFrame(1), 7, 0), // empty
    Buffer.concat([edit(pingFrame(1), 7, 5), Buffer.alloc(1)]),
    edit(settingsFrame(1), 11, 2), // claims two settings
    rstStreamFrame(0, 1),
  ];
  for (const bytes of wrong)
    assert.throws(
      () => [...new FrameReader(100).read(bytes)],
      (e: unknown) => e instanceof StatusError && e.code === Code.InvalidArgument,
      bytes.toString("hex"),
    );
  const long = synStreamFrame(1, 0, Buffer.alloc(200));
  assert.throws(
    () => [...new FrameReader(100).read(long.subarray(0, 8))],
    (e: unknown) => e instanceof StatusError && e.code === Code.ResourceExhausted,
  );
});

test("a truncation waits for more; flipped bits and noise give frames or a StatusError", () => {
  const survives = (bytes: Buffer) => {
    try {
      const all = [...new FrameReader(maxControlBytes).read(bytes)];
      assert.ok(all.length <= bytes.length);
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
    }
  };
  fc.assert(
    fc.property(fc.array(anyFrame, { minLength: 1, maxLength: 3 }), (pairs) => {
      const all = Buffer.concat(pairs.map(([, bytes]) => bytes));
      for (let length = 0; length < all.length; length += 1) survives(all.subarray(0, length));
      for (let bit = 0; bit < all.length * 8; bit += 7) {
        const flipped = Buffer.from(all);
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        survives(flipped);
      }
    }),
    { numRuns: 50 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => survives(Buffer.from(noise))),
    { numRuns: 1000 },
  );
});

test("headers come out as they went in, names in lower case, block after block", () => {
  const name = fc.stringMatching(/^[a-zA-Z][a-zA-Z0-9-]{0,20}$/).map((text) => text.toLowerCase());
  const headers = fc.dictionary(name, fc.stringMatching(/^[\x20-\xff]{0,40}$/), { maxKeys: 10 });
  fc.assert(
    fc.property(fc.array(headers, { maxLength: 5 }), (list) => {
      const writer = new HeaderWriter();
      const reader = new HeaderReader(maxControlBytes);
      for (const headers of list)
        assert.deepEqual(Object.fromEntries(reader.read(writer.write(headers))), { ...headers });
    }),
  );
  assert.deepEqual(
    [...new HeaderReader(1000).read(new HeaderWriter().write({ streamType: "error", Port: "80" }))],
    [
      ["streamtype", "error"],
      ["port", "80"],
    ],
  );
});

test("header blocks with empty or repeated names or with wrong lengths are refused", () => {
  const block = (...parts: (number | string)[]) =>
    Buffer.concat(
      parts.map((part) =>
        typeof part === "string" ? Buffer.from(part) : Buffer.from(Uint32Array.of(part).buffer).swap32(),
      ),
    );
  const stored = (bytes: Buffer) => {
    const own = new HeaderWriter().write({});
    const head = Buffer.alloc(5);
    head.writeUInt16LE(bytes.length, 1);
    head.writeUInt16LE(bytes.length ^ 0xffff, 3);
    return Buffer.concat([own.subarray(0, 6), head, bytes]);
  };
  assert.deepEqual([...new HeaderReader(1000).read(stored(block(1, 1, "a", 1, "b")))], [["a", "b"]]);
  for (const bytes of [
    block(1, 0, 1, "b"),
    block(2, 1, "a", 0, 1, "A", 0),
    block(2, 1, "a", 0),
    block(1, 0xffffffff, "a"),
    block(0xffffffff),
    block(0, 1),
    Buffer.alloc(2),
  ]) {
    assert.throws(
      () => new HeaderReader(1000).read(stored(bytes)),
      (e: unknown) => e instanceof StatusError && e.code === Code.InvalidArgument,
    );
  }
});
