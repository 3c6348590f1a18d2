import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { Code, StatusError } from "@keelson/base/status.ts";
import { decompress } from "./decompress.ts";

const content = Buffer.concat([Buffer.alloc(900_000, "keelson "), randomBytes(100_000)]);
const half = content.length / 2;
const forms: Record<string, Buffer> = {
  "no compression": content,
  gzip: gzipSync(content),
  "gzip with several members": Buffer.concat([gzipSync(content.subarray(0, half)), gzipSync(content.subarray(half))]),
  "gzip padded with zeros": Buffer.concat([gzipSync(content), Buffer.alloc(100)]),
  zstd: zstdCompressSync(content),
  "zstd with several frames": Buffer.concat([
    zstdCompressSync(content.subarray(0, half)),
    zstdCompressSync(content.subarray(half)),
  ]),
  "zstd with skippable frames before and after": Buffer.concat([skippable(), zstdCompressSync(content), skippable()]),
};

function skippable(): Buffer {
  const frame = Buffer.alloc(8 + 100);
  frame.writeUInt32LE(0x184d2a53, 0);
  frame.writeUInt32LE(100, 4);
  return frame;
}

async function* chunks(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function all(bytes: Buffer, size: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  await decompress(chunks(bytes, size), (part) => void parts.push(Buffer.from(part)));
  return Buffer.concat(parts);
}

for (const [name, bytes] of Object.entries(forms)) {
  test(`${name}, in chunks of any size`, async () => {
    const member = gzipSync(content.subarray(0, half)).length;
    for (const size of [bytes.length, 65536, 1000, member])
      assert.ok((await all(bytes, size)).equals(content), `chunks of ${size}`);
  });
}

test("no bytes at all are an empty layer", async () => assert.equal((await all(Buffer.alloc(0), 1)).length, 0));

test("damaged and truncated data is DataLoss", async () => {
  for (const bytes of [forms["gzip"], forms["zstd"]] as Buffer[]) {
    const damaged = Buffer.from(bytes);
    damaged.fill(0xff, 12, 60);
    for (const wrong of [damaged, bytes.subarray(0, bytes.length - 10), bytes.subarray(0, 5)]) {
      await assert.rejects(all(wrong, 4096), (error) => error instanceof StatusError && error.code === Code.DataLoss);
    }
  }
});

test("an error thrown by the receiver ends decompression and closes the source", async () => {
  for (const bytes of Object.values(forms)) {
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        yield* chunks(bytes, 1000);
      } finally {
        closed = true;
      }
    }
    await assert.rejects(
      decompress(source(), () => {
        throw new Error("disk is full");
      }),
      /disk is full/,
    );
    assert.equal(closed, true);
  }
});
