import assert from "node:assert/strict";
import { test } from "node:test";
import { JoinedCalls } from "./joined-calls.ts";
import { Code, type StatusError } from "./status.ts";

test("a second caller gets the result of the first run", async () => {
  const calls = new JoinedCalls<number>(0);
  const { promise, resolve } = Promise.withResolvers<number>();
  let runs = 0;
  const body = () => ((runs += 1), promise);
  const both = Promise.all([1, 2].map(() => calls.join("pull", new AbortController().signal, body)));
  resolve(42);
  assert.deepEqual(await both, [42, 42]);
  assert.equal(runs, 1);
  assert.deepEqual([...calls.running()], []);
});

test("when one caller goes, the run stays for the other; when the last goes, it ends", async () => {
  const calls = new JoinedCalls<number>(0);
  const first = new AbortController();
  const second = new AbortController();
  let inner: AbortSignal | undefined;
  const body = (signal: AbortSignal) => ((inner = signal), new Promise<number>(() => {}));
  const a = calls.join("pull", first.signal, body);
  const b = calls.join("pull", second.signal, body);
  first.abort();
  await assert.rejects(a, (e: StatusError) => e.code === Code.Cancelled);
  assert.equal(inner?.aborted, false);
  second.abort();
  await assert.rejects(b);
  assert.equal(inner?.aborted, true);
});

test("after a client's deadline the run lingers, and the retry gets its result", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const calls = new JoinedCalls<number>(1000);
  const { promise, resolve } = Promise.withResolvers<number>();
  const deadline = new AbortController();
  const first = calls.join("run", deadline.signal, (_signal, stage) => (stage("attach network podnet"), promise));
  deadline.abort(new DOMException("late", "TimeoutError"));
  await assert.rejects(first, (e: StatusError) => {
    assert.equal(e.code, Code.DeadlineExceeded);
    assert.match(e.message, /during: attach network podnet \(running for \d/);
    return true;
  });
  t.mock.timers.tick(999);
  const retry = calls.join("run", new AbortController().signal, () =>
    Promise.reject(new Error("must join, not start")),
  );
  t.mock.timers.tick(10_000);
  resolve(5);
  assert.equal(await retry, 5);
});

test("a run that nobody returns to is aborted after the linger time", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const calls = new JoinedCalls<number>(1000);
  const deadline = new AbortController();
  let inner: AbortSignal | undefined;
  const first = calls.join("run", deadline.signal, (signal) => ((inner = signal), new Promise<number>(() => {})));
  deadline.abort();
  await assert.rejects(first);
  t.mock.timers.tick(999);
  assert.equal(inner?.aborted, false);
  t.mock.timers.tick(1);
  assert.equal(inner?.aborted, true);
});

test("after a run has ended, the next call runs again", async () => {
  const calls = new JoinedCalls<number>(0);
  const signal = new AbortController().signal;
  await assert.rejects(
    calls.join("k", signal, () => Promise.reject(new Error("once"))),
    /once/,
  );
  assert.equal(await calls.join("k", signal, () => Promise.resolve(7)), 7);
});

test("a run that takes too long is aborted even though callers return, and the next call starts another", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const calls = new JoinedCalls<number>(1000, 5000);
  const hangs = (signal: AbortSignal) =>
    new Promise<number>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
  const first = new AbortController();
  const left = calls.join("run", first.signal, hangs);
  first.abort();
  await assert.rejects(left);
  const retry = calls.join("run", new AbortController().signal, () => assert.fail("must join, not start"));
  t.mock.timers.tick(4999);
  assert.equal([...calls.running()].length, 1);
  t.mock.timers.tick(1);
  await assert.rejects(
    retry,
    (e: StatusError) => e.code === Code.DeadlineExceeded && /longer than 5 s/.test(e.message),
  );
  assert.equal(await calls.join("run", new AbortController().signal, () => Promise.resolve(7)), 7);
});

test("the number of runs is limited; one that is under way can still be joined", async () => {
  const calls = new JoinedCalls<number>(0, undefined, 2);
  const { promise, resolve } = Promise.withResolvers<number>();
  const join = (key: string) => calls.join(key, new AbortController().signal, () => promise);
  const runs = ["a", "b", "a"].map(join);
  assert.equal(calls.size, 2);
  await assert.rejects(
    join("c"),
    (e: StatusError) => e.code === Code.ResourceExhausted && /2 operations are under way/.test(e.message),
  );
  resolve(1);
  assert.deepEqual(await Promise.all(runs), [1, 1, 1]);
  assert.equal(await join("c"), 1);
});
