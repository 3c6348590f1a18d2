import assert from "node:assert/strict";
import { test } from "node:test";
import { GentleAbort, startGraceMs } from "./gentle-abort.ts";

test("the signal follows at once when the process has started", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const outer = new AbortController();
  using gentle = new GentleAbort(outer.signal, () => true);
  const reason = new Error("client gone");
  outer.abort(reason);
  assert.equal(gentle.signal.reason, reason);
});

test("it waits for the start", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const outer = new AbortController();
  let hasStarted = false;
  using gentle = new GentleAbort(outer.signal, () => hasStarted);
  outer.abort();
  t.mock.timers.tick(startGraceMs / 2);
  assert.equal(gentle.signal.aborted, false);
  hasStarted = true;
  t.mock.timers.tick(2);
  assert.equal(gentle.signal.aborted, true);
});

test("it waits no longer than the grace period, and does nothing when disposed", (t) => {
  t.mock.timers.enable({ apis: ["setInterval"] });
  const outer = new AbortController();
  using late = new GentleAbort(outer.signal, () => false);
  const ended = new GentleAbort(outer.signal, () => false);
  outer.abort();
  ended[Symbol.dispose]();
  t.mock.timers.tick(startGraceMs);
  assert.deepEqual([late.signal.aborted, ended.signal.aborted], [true, false]);
});

test("it cannot be made from a signal that has aborted", () => {
  assert.throws(() => new GentleAbort(AbortSignal.abort(new Error("too late")), () => true), /too late/);
});
