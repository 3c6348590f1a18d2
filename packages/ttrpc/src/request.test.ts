import assert from "node:assert/strict";
import { test } from "node:test";
import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { Code, StatusError } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { decodeRequest, decodeResponse, encodeRequest, encodeResponse, type Request } from "./request.ts";

const text = fc.string({ unit: "binary", maxLength: 20 });
const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array));
const key = text.map((key) => key.toLowerCase()).filter((key) => key === key.toLowerCase());
const anyRequest: fc.Arbitrary<Request> = fc.record(
  {
    service: text,
    method: text,
    payload: bytes,
    timeoutNs: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    metadata: fc
      .array(fc.tuple(key, fc.array(text, { minLength: 1, maxLength: 3 })), { maxLength: 4 })
      .map((list) => new Map(list)),
  },
  { noNullPrototype: true },
);

/** The same message, written by protobuf's own library for JavaScript. */
function written(request: Request): Buffer {
  const writer = new BinaryWriter();
  writer.tag(1, WireType.LengthDelimited).string(request.service);
  writer.tag(2, WireType.LengthDelimited).string(request.method);
  writer.tag(3, WireType.LengthDelimited).bytes(request.payload);
  writer.tag(4, WireType.Varint).int64(request.timeoutNs);
  for (const [key, values] of request.metadata) {
    for (const value of values) {
      writer.tag(5, WireType.LengthDelimited).fork();
      writer.tag(1, WireType.LengthDelimited).string(key);
      writer.tag(2, WireType.LengthDelimited).string(value).join();
    }
  }
  return Buffer.from(writer.finish());
}

/** The message, read by protobuf's own library. */
function read(bytes: Uint8Array): Request {
  const reader = new BinaryReader(bytes);
  const metadata = new Map<string, string[]>();
  const request = { service: "", method: "", payload: Buffer.alloc(0), timeoutNs: 0n, metadata };
  while (reader.pos < reader.len) {
    const [field] = reader.tag();
    if (field === 1) request.service = reader.string();
    else if (field === 2) request.method = reader.string();
    else if (field === 3) request.payload = Buffer.from(reader.bytes());
    else if (field === 4) request.timeoutNs = BigInt(reader.int64());
    else {
      const end = reader.uint32() + reader.pos;
      let [key, value] = ["", ""];
      while (reader.pos < end) {
        const [field] = reader.tag();
        if (field === 1) key = reader.string();
        else value = reader.string();
      }
      metadata.set(key, [...(metadata.get(key) ?? []), value]);
    }
  }
  return request;
}

const hex = (...parts: string[]) => Buffer.from(parts.join(""), "hex");
const isA = (code: Code) => (error: unknown) => error instanceof StatusError && error.code === code;

test("requests come out as they went in, and agree with protobuf's own library", () => {
  fc.assert(
    fc.property(anyRequest, (request) => {
      assert.deepEqual(decodeRequest(encodeRequest(request)), request);
      assert.deepEqual(read(encodeRequest(request)), request);
      assert.deepEqual(decodeRequest(written(request)), request);
    }),
  );
});

test("responses carry a payload or a status", () => {
  fc.assert(
    fc.property(bytes, (payload) =>
      assert.deepEqual(decodeResponse(encodeResponse({ payload })), { error: undefined, payload }),
    ),
  );
  fc.assert(
    fc.property(fc.constantFrom(...Object.values(Code).filter((code) => code !== Code.Ok)), text, (code, message) => {
      const { error, payload } = decodeResponse(encodeResponse({ code, message }));
      assert.deepEqual([error?.code, error?.message, payload.length], [code, message, 0]);
    }),
  );
});

test("an OK response says so, for older clients in Go, and one that does not is read as OK", () => {
  assert.equal(encodeResponse({ payload: Buffer.from("x") }).toString("hex"), "0a00120178");
  assert.equal(decodeResponse(hex("120178")).error, undefined);
});

test("an unknown code is Unknown, with its number", () => {
  const status = (code: number) =>
    new BinaryWriter()
      .tag(1, WireType.LengthDelimited)
      .fork()
      .tag(1, WireType.Varint)
      .int32(code)
      .tag(2, WireType.LengthDelimited)
      .string("odd")
      .join()
      .finish();
  for (const code of [77, -5]) {
    const { error } = decodeResponse(Buffer.from(status(code)));
    assert.deepEqual([error?.code, error?.message], [Code.Unknown, `Code(${code}): odd`]);
  }
});

test("a status in two parts is merged, and its details are ignored", () => {
  const { error } = decodeResponse(hex("0a020805", "0a03120178", "0a021a00"));
  assert.deepEqual([error?.code, error?.message], [Code.NotFound, "x"]);
});

test("metadata keys are in lower case, and keep all their values in order", () => {
  const request = {
    service: "s",
    method: "m",
    payload: Buffer.alloc(0),
    timeoutNs: 0n,
    metadata: new Map([
      ["Key", ["b", "a"]],
      ["key", ["c"]],
    ]),
  };
  assert.deepEqual(decodeRequest(encodeRequest(request)).metadata, new Map([["key", ["b", "a", "c"]]]));
});

test("fields of later versions are skipped", () => {
  const later = ["30ffffffffffffffffff01", "3900112233445566ff", "4203616263", "4d00112233"];
  assert.equal(decodeRequest(hex(...later, "0a0173", ...later)).service, "s");
});

test("bytes that are no request are InvalidArgument; bytes that are no response, Internal", () => {
  const wrong = [
    "08",
    "0a05",
    "0a0561",
    "0801",
    "0bff",
    "0c",
    "07",
    "00",
    "0affffffffffffffffff01",
    "ffffffffffffffffffff01",
    "808080808001",
    "0a01ff",
    "2a020a05",
    "2a020801",
    "39001122",
    "4d0011",
  ];
  for (const bytes of wrong) assert.throws(() => decodeRequest(hex(bytes)), isA(Code.InvalidArgument), bytes);
  for (const bytes of ["08", "0a05", "0801", "0a020aff", "0a0308ffff", "12ff"])
    assert.throws(() => decodeResponse(hex(bytes)), isA(Code.Internal), bytes);
});

test("metadata is bounded: two bytes of it take many in memory", () => {
  assert.throws(() => decodeRequest(hex("2a00".repeat(1_000_000))), isA(Code.InvalidArgument));
});

test("any truncation, any flipped bit and any noise gives a message or a StatusError", () => {
  const survives = (bytes: Buffer) => {
    for (const decode of [decodeRequest, decodeResponse]) {
      try {
        decode(bytes);
      } catch (error) {
        if (!(error instanceof StatusError)) throw error;
      }
    }
  };
  fc.assert(
    fc.property(anyRequest, (request) => {
      const all = encodeRequest(request);
      for (let length = 0; length < all.length; length += 1) survives(all.subarray(0, length));
      for (let bit = 0; bit < all.length * 8; bit += 7) {
        const flipped = Buffer.from(all);
        flipped[bit >> 3]! ^= 1 << (bit & 7);
        survives(flipped);
      }
    }),
    { numRuns: 30 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => survives(Buffer.from(noise))),
    { numRuns: 2000 },
  );
});
