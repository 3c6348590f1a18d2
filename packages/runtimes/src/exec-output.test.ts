import assert from "node:assert/strict";
import { test } from "node:test";
import { ExecOutput, firstBlockBytes, maxKeptBytes } from "./exec-output.ts";

test("keeps what is written, in any pieces, as it was", () => {
  using output = new ExecOutput(() => true);
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, i) => i % 251));
  const sizes = [1, 2, 16_000, 1000, 65_536, 100_000];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    output.stdout.add(bytes.subarray(at, at + size));
    at += size;
  }
  output.stderr.add(Buffer.from("oh"));
  assert.ok(output.stdout.start().equals(bytes.subarray(0, firstBlockBytes)));
  assert.equal(output.stderr.start().toString(), "oh");
  assert.ok(Buffer.concat(output.stdout.end()).equals(bytes));
  assert.equal(Buffer.concat(output.stderr.end()).toString(), "oh");
  assert.equal(output.isTruncated, false);
  output.stderr.add(Buffer.from("late"));
  assert.deepEqual(output.stderr.end(), []);
});

test("keeps so much and says when there was more", () => {
  using output = new ExecOutput(() => true);
  const chunk = Buffer.alloc(65_536, 1);
  for (let i = 0; i < maxKeptBytes / chunk.length; i++) output.stdout.add(chunk);
  assert.equal(output.isTruncated, false);
  output.stdout.add(Buffer.from([1]));
  assert.equal(output.isTruncated, true);
  assert.equal(Buffer.concat(output.stdout.end()).length, maxKeptBytes);
});

test("takes about as much memory as there is output, however small its pieces, and keeps nothing once refused", () => {
  let taken = 0;
  using output = new ExecOutput((bytes) => (taken + bytes > 1_000_000 ? false : ((taken += bytes), true)));
  for (let i = 0; i < 100_000; i++) output.stdout.add(Buffer.from([i % 256]));
  assert.ok(taken >= 100_000 && taken < 300_000, `${taken} bytes for 100,000`);
  output.stderr.add(Buffer.alloc(2_000_000));
  assert.equal(output.isTruncated, true);
  const before = taken;
  output.stderr.add(Buffer.alloc(10));
  assert.equal(taken, before);
  assert.ok(taken <= 1_000_000);
});

test("gives its memory back at once, without the garbage collector", () => {
  const output = new ExecOutput(() => true);
  const chunk = Buffer.alloc(65_536);
  for (let i = 0; i < 200; i++) output.stdout.add(chunk);
  const before = process.memoryUsage().arrayBuffers;
  output[Symbol.dispose]();
  const freed = before - process.memoryUsage().arrayBuffers;
  assert.ok(freed > 12_000_000, `${freed} bytes`);
});
