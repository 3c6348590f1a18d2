import assert from "node:assert/strict";
import { test } from "node:test";
import { Latencies } from "./latencies.ts";

test("quantiles are right to within two percent, and the maximum is exact", () => {
  const latencies = new Latencies();
  for (let ms = 1; ms <= 1000; ms++) latencies.add(ms);
  for (const [fraction, ms] of [
    [0.5, 500],
    [0.99, 990],
  ] as const) {
    assert.ok(Math.abs(latencies.quantile(fraction) / ms - 1) <= 0.02, String(latencies.quantile(fraction)));
  }
  assert.equal(latencies.quantile(1), 1000);
  assert.deepEqual([latencies.count, latencies.maxMs], [1000, 1000]);
});

test("without calls there are no quantiles; calls that took no time have some", () => {
  const latencies = new Latencies();
  assert.ok(Number.isNaN(latencies.quantile(0.5)));
  latencies.add(0);
  assert.equal(latencies.quantile(0.5), 0);
});
