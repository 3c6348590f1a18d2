import assert from "node:assert/strict";
import { test } from "node:test";
import { firstBlockBytes } from "@keelson/runtimes/exec-output.ts";
import { ExecMemory } from "./exec-memory.ts";

const mebibyte = 1024 * 1024;

function fill(limitBytes: number, ...names: string[]) {
  const memory = new ExecMemory(limitBytes);
  const refused: string[] = [];
  const shares = names.map((name) => memory.open(() => refused.push(name)));
  return { memory, refused, shares };
}

test("all commands share it, and it comes back with the end of each", () => {
  const { memory, refused, shares } = fill(100_000, "a", "b");
  const [a, b] = shares as [(typeof shares)[0], (typeof shares)[0]];
  assert.equal(a.take(60_000), true);
  assert.equal(b.take(40_000), true);
  assert.equal(memory.usedBytes, 100_000);
  a[Symbol.dispose]();
  a[Symbol.dispose]();
  assert.equal(memory.usedBytes, 40_000);
  assert.equal(a.take(20_000), false, "it has ended");
  b[Symbol.dispose]();
  assert.equal(memory.usedBytes, 0);
  assert.deepEqual(refused, []);
});

test("the youngest is refused, so that of commands that grow at once as many end well as there is room for", () => {
  const { memory, refused, shares } = fill(10 * mebibyte, "a", "b", "c", "d");
  const answered = new Set(shares);
  for (let i = 0; i < 4; i++) for (const share of answered) if (!share.take(mebibyte)) answered.delete(share);
  assert.deepEqual(refused, ["d", "c"]);
  assert.deepEqual([...answered], shares.slice(0, 2));
  assert.equal(memory.usedBytes, 8 * mebibyte);
});

test("a command that writes little is not refused for the sake of one that writes much, whoever came first", () => {
  const { refused, shares } = fill(10 * mebibyte, "much", "little");
  assert.equal(shares[0]!.take(10 * mebibyte), true);
  assert.equal(shares[1]!.take(100_000), true);
  assert.deepEqual(refused, ["much"]);
});

test("an answer that waits for its client is kept, and what does not fit beside it is refused", () => {
  const { memory, refused, shares } = fill(10 * mebibyte, "answer", "command");
  shares[0]!.take(10 * mebibyte);
  shares[0]!.keep();
  assert.equal(shares[1]!.take(100_000), false);
  assert.deepEqual(refused, ["command"]);
  assert.equal(memory.usedBytes, 10 * mebibyte);
});

test("a probe's few lines are never refused", () => {
  const { memory, refused, shares } = fill(100_000, "much", "probe");
  shares[0]!.take(100_000);
  shares[0]!.keep();
  assert.equal(shares[1]!.take(firstBlockBytes), true);
  assert.deepEqual([refused, memory.usedBytes], [[], 100_000]);
});
