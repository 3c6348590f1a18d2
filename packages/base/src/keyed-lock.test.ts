import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyedLock } from "./keyed-lock.ts";

const never = new AbortController().signal;

test("holders of one key take turns in the order of their calls", async () => {
  const lock = new KeyedLock();
  const order: number[] = [];
  await Promise.all(
    [1, 2, 3].map(async (n) => {
      using _ = await lock.acquire("pod", never);
      order.push(n);
      await new Promise((resolve) => setImmediate(resolve));
      order.push(n);
    }),
  );
  assert.deepEqual(order, [1, 1, 2, 2, 3, 3]);
  assert.equal(lock.size, 0);
});

test("different keys do not wait for each other", async () => {
  const lock = new KeyedLock();
  using _a = await lock.acquire("a", never);
  using _b = await lock.acquire("b", never);
  assert.equal(lock.size, 2);
});

test("a waiter whose signal aborts leaves the queue and the next one gets the lock", async () => {
  const lock = new KeyedLock();
  const first = await lock.acquire("pod", never);
  const abort = new AbortController();
  const second = lock.acquire("pod", abort.signal);
  const third = lock.acquire("pod", never);
  abort.abort(new Error("client went away"));
  await assert.rejects(second, /client went away/);
  first[Symbol.dispose]();
  (await third)[Symbol.dispose]();
  assert.equal(lock.size, 0);
});

test("releasing twice does not hand the lock to two waiters", async () => {
  const lock = new KeyedLock();
  const first = await lock.acquire("pod", never);
  const second = lock.acquire("pod", never);
  let thirdHasIt = false;
  const third = lock.acquire("pod", never).then((held) => ((thirdHasIt = true), held));
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  const held = await second;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(thirdHasIt, false);
  held[Symbol.dispose]();
  (await third)[Symbol.dispose]();
});

test("held keys are listed, with the number of waiters and since when the present holder has it", async () => {
  const lock = new KeyedLock();
  const first = await lock.acquire("pod", new AbortController().signal);
  const second = lock.acquire("pod", new AbortController().signal);
  const [before] = lock.held();
  assert.deepEqual([before?.key, before?.waiting], ["pod", 1]);
  first[Symbol.dispose]();
  const [after] = lock.held();
  assert.equal(after?.waiting, 0);
  assert.ok((after?.sinceMs ?? 0) >= (before?.sinceMs ?? Infinity));
  (await second)[Symbol.dispose]();
  assert.deepEqual([...lock.held()], []);
});
