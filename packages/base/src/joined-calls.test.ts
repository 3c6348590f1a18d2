import assert from "node:assert/strict";
import { test } from "node:test";
import { JoinedCalls } from "./joined-calls.ts";

test("a second caller gets the result of the first run", async () => {
  const calls = new JoinedCalls<number>();
  const { promise, resolve } = Promise.withResolvers<number>();
  let runs = 0;
  const body = () => ((runs += 1), promise);
  const both = Promise.all([1, 2].map(() => calls.join("pull", new AbortController().signal, body)));
  resolve(42);
  assert.deepEqual(await both, [42, 42]);
  assert.equal(runs, 1);
  assert.equal(calls.size, 0);
});

test("one caller going away leaves the run to the other; the last one ends it", async () => {
  const calls = new JoinedCalls<number>();
  const first = new AbortController();
  const second = new AbortController();
  let inner: AbortSignal | undefined;
  const body = (signal: AbortSignal) => ((inner = signal), new Promise<number>(() => {}));
  const a = calls.join("pull", first.signal, body);
  const b = calls.join("pull", second.signal, body);
  first.abort(new Error("deadline of the first"));
  await assert.rejects(a, /deadline of the first/);
  assert.equal(inner?.aborted, false);
  second.abort(new Error("deadline of the second"));
  await assert.rejects(b, /deadline of the second/);
  assert.equal(inner?.aborted, true);
  assert.equal(calls.size, 0);
});

test("after a run has ended, the next call runs again", async () => {
  const calls = new JoinedCalls<number>();
  const signal = new AbortController().signal;
  await assert.rejects(calls.join("k", signal, () => Promise.reject(new Error("once"))), /once/);
  assert.equal(await calls.join("k", signal, () => Promise.resolve(7)), 7);
});
