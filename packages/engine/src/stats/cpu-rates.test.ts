import assert from "node:assert/strict";
import { test } from "node:test";
import { CpuRates } from "./cpu-rates.ts";

const s = 1_000_000_000n;

test("there is no rate before two samples are a second apart, and then it is right", () => {
  const rates = new CpuRates();
  assert.equal(rates.record("a", 0, 5n * s), undefined);
  assert.equal(rates.record("a", 999, 6n * s), undefined);
  assert.equal(rates.record("a", 2000, 6n * s), s / 2n);
});

test("a rate is of the last seconds, not of all the time", () => {
  const rates = new CpuRates();
  for (let i = 0; i <= 10; i += 1) rates.record("a", i * 10_000, 0n);
  // A core for one second after a hundred idle ones.
  assert.equal(rates.record("a", 101_000, s), s);
  assert.equal(rates.record("a", 110_000, 10n * s), s);
});

test("asking all the time does not make the time shorter than a second", () => {
  const rates = new CpuRates();
  for (let ms = 0; ms <= 30_000; ms += 10) {
    const rate = rates.record("a", ms, BigInt(ms) * 250_000n);
    assert.equal(rate, ms < 1000 ? undefined : s / 4n);
  }
});

test("a counter that went back is another cgroup's: it begins anew", () => {
  const rates = new CpuRates();
  rates.record("a", 0, 10n * s);
  assert.equal(rates.record("a", 10_000, 1n * s), undefined);
  assert.equal(rates.record("a", 20_000, 11n * s), s);
});

test("those that are gone are forgotten", () => {
  const rates = new CpuRates();
  rates.record("a", 0, 0n);
  rates.record("b", 0, 0n);
  rates.keepOnly(new Set(["b"]));
  assert.deepEqual([rates.has("a"), rates.has("b")], [false, true]);
});
