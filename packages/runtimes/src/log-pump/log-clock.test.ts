import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { type Clocks, LogClock } from "./log-clock.ts";

const msNs = 1_000_000n;
const hourNs = 3_600_000n * msNs;
const startNs = BigInt(Date.UTC(2026, 0, 2, 3, 4, 5)) * msNs + 6n;

/** A machine whose time passes as a test says. */
class TestClocks implements Clocks {
  wallNs = startNs;
  #ticks = 77n;
  #preemption: { afterReadings: number; ns: bigint } | undefined;

  pass(ns: bigint): void {
    this.wallNs += ns;
    this.#ticks += ns;
  }

  /** Takes the processor away for this time, once, after so many readings of the clocks. */
  preempt(afterReadings: number, ns: bigint): void {
    this.#preemption = { afterReadings, ns };
  }

  wallMs(): number {
    const ms = Number(this.wallNs / msNs);
    this.#wasRead();
    return ms;
  }

  ticksNs(): bigint {
    const ticks = this.#ticks;
    this.#wasRead();
    return ticks;
  }

  #wasRead(): void {
    if (this.#preemption === undefined || (this.#preemption.afterReadings -= 1) > 0) return;
    this.pass(this.#preemption.ns);
    this.#preemption = undefined;
  }
}

function timeNs(text: string): bigint {
  assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
  return BigInt(Date.parse(`${text.slice(0, 19)}Z`)) * msNs + BigInt(text.slice(20, 29));
}

function withClock(lastNs?: bigint) {
  const clocks = new TestClocks();
  const clock = new LogClock(lastNs, clocks);
  return { clocks, now: () => timeNs(clock.now()) };
}

function distance(a: bigint, b: bigint): bigint {
  return a > b ? a - b : b - a;
}

test("the machine's own clocks give the machine's time, in order", () => {
  const clock = new LogClock();
  const times = Array.from({ length: 1000 }, () => clock.now());
  assert.deepEqual(times.toSorted(), times);
  assert.ok(distance(timeNs(times.at(-1)!), BigInt(Date.now()) * msNs) < 1000n * msNs);
});

test("within a millisecond of the wall clock, ticks go on", () => {
  const { clocks, now } = withClock();
  const first = now();
  clocks.pass(1234n);
  assert.equal(now() - first, 1234n);
});

test("no time is before the last one when the thread loses its processor between readings of the clocks", () => {
  for (const afterReadings of [1, 2, 3]) {
    for (const preemptedMs of [1n, 3n, 20n, 3000n]) {
      const { clocks, now } = withClock();
      let last = now();
      for (let round = 0; round < 20; round += 1) {
        clocks.pass(100_000n);
        if (round % 2 === 0) clocks.preempt(afterReadings, preemptedMs * msNs);
        const time = now();
        const how = `preempted for ${preemptedMs} ms after reading ${afterReadings}, round ${round}`;
        assert.ok(time >= last, `${last - time} ns back: ${how}`);
        last = time;
      }
      assert.ok(distance(last, clocks.wallNs) <= 2n * msNs, "the times have left the machine's");
    }
  }
});

test("when the wall clock is set forward, the times follow at once", () => {
  const { clocks, now } = withClock();
  now();
  clocks.wallNs += hourNs;
  assert.ok(distance(now(), clocks.wallNs) <= msNs);
});

test("when the wall clock is set back, the times go on at half speed until it has caught up", () => {
  const { clocks, now } = withClock();
  const before = now();
  clocks.wallNs -= hourNs;
  assert.equal(now(), before);
  clocks.pass(hourNs);
  assert.equal(now() - before, hourNs / 2n);
  clocks.pass(hourNs);
  assert.ok(distance(now(), clocks.wallNs) <= msNs);
  clocks.pass(hourNs);
  assert.ok(distance(now(), clocks.wallNs) <= msNs);
});

test("no time is before the last one that the log has", () => {
  const lastNs = startNs + hourNs;
  const { clocks, now } = withClock(lastNs);
  assert.equal(now(), lastNs);
  clocks.pass(2n * msNs);
  assert.equal(now(), lastNs + msNs);
  const old = withClock(startNs - hourNs);
  assert.ok(distance(old.now(), startNs) <= msNs);
});

test("a log that is at the end of all years stays there", () => {
  const endNs = timeNs("9999-12-31T23:59:59.999999999Z");
  const { clocks, now } = withClock(endNs - 1n);
  clocks.pass(hourNs);
  assert.deepEqual([now(), now()], [endNs, endNs]);
});

test("whatever becomes of the clocks, times never decrease, and are the wall clock's when that is not set", () => {
  const ns = fc.bigInt({ min: 0n, max: 10n * msNs });
  const after = fc.integer({ min: 1, max: 3 });
  const step = fc.record({ pass: ns, preempt: fc.option(ns, { nil: 0n }), after, set: fc.constant(0n) });
  const setting = fc.record({ pass: ns, preempt: ns, after, set: fc.bigInt({ min: -2n * hourNs, max: hourNs }) });
  fc.assert(
    fc.property(fc.array(fc.oneof({ arbitrary: step, weight: 9 }, setting), { maxLength: 50 }), (steps) => {
      const { clocks, now } = withClock();
      let last = 0n;
      for (const { pass, preempt, after, set } of steps) {
        clocks.wallNs += set;
        clocks.pass(pass);
        clocks.preempt(after, preempt);
        const time = now();
        assert.ok(time >= last);
        if (steps.every((s) => s.set >= 0n)) assert.ok(distance(time, clocks.wallNs) <= 2n * msNs + preempt);
        last = time;
      }
    }),
  );
});
