import assert from "node:assert/strict";
import { test } from "node:test";
import { judgeMemory, type MemorySample } from "./memory-trend.ts";

const mib = 1024;

/**
 * Samples of a life of a minute, one per second, which starts small and grows to `mibAtEnd` in its first ten seconds.
 */
function life(number: number, mibAtEnd: number): MemorySample[] {
  return Array.from({ length: 60 }, (_, second) => ({
    life: number,
    ageMs: second * 1000,
    rssKiB: (second < 10 ? mibAtEnd / 2 : mibAtEnd) * mib,
  }));
}

test("daemons that are all as large as the first are flat, however each grows as it starts", () => {
  const { isFlat, text } = judgeMemory([200, 215, 195, 205, 210, 200].flatMap((size, index) => life(index + 1, size)));
  assert.deepEqual([isFlat, text], [true, "207.5 and 205.0 MiB in the first and last third of 6 daemons' lives: flat"]);
});

test("daemons that are each larger than the one before are not flat", () => {
  assert.equal(
    judgeMemory([200, 210, 220, 230, 240, 250].flatMap((size, index) => life(index + 1, size))).isFlat,
    false,
  );
});

test("a long-lived daemon is judged by itself, after a quarter of its life", () => {
  const long = (rssMib: (second: number) => number) =>
    Array.from({ length: 600 }, (_, second) => ({ life: 1, ageMs: second * 1000, rssKiB: rssMib(second) * mib }));
  assert.equal(judgeMemory(long((second) => 200 + Math.min(60, second))).isFlat, true);
  assert.equal(judgeMemory(long((second) => 200 + second / 8)).isFlat, false);
});

test("too few samples are not judged", () => {
  assert.equal(judgeMemory([]).isFlat, undefined);
  assert.equal(judgeMemory([...life(1, 100), ...life(2, 200)]).isFlat, undefined);
});
