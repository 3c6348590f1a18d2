import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";
import { orAborted } from "./or-aborted.ts";

const hangs = new Promise<never>(() => {});

test("it settles as the promise does, and leaves no listener", async () => {
  const { signal } = new AbortController();
  assert.equal(await orAborted(Promise.resolve(7), signal), 7);
  await assert.rejects(orAborted(Promise.reject(new Error("broken")), signal), /broken/);
  assert.equal(getEventListeners(signal, "abort").length, 0);
});

test("it rejects with the signal's reason, before or while it waits", async () => {
  const abort = new AbortController();
  const waiting = orAborted(hangs, abort.signal);
  abort.abort(new Error("enough"));
  await assert.rejects(waiting, /enough/);
  await assert.rejects(orAborted(Promise.resolve(7), abort.signal), /enough/);
});
