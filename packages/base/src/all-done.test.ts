import assert from "node:assert/strict";
import { test } from "node:test";
import { allDone } from "./all-done.ts";

test("it waits for all, then throws the first failure", async () => {
  const slow = Promise.withResolvers<void>();
  let isOver = false;
  const all = allDone([Promise.reject(new Error("first")), slow.promise, Promise.reject(new Error("second"))]).finally(
    () => (isOver = true),
  );
  all.catch(() => undefined);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isOver, false);
  slow.resolve();
  await assert.rejects(all, /first/);
  await allDone([slow.promise]);
  await allDone([]);
});
