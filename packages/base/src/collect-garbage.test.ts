import assert from "node:assert/strict";
import { once } from "node:events";
import { constants, type PerformanceEntry, PerformanceObserver } from "node:perf_hooks";
import { test } from "node:test";
import { collectGarbageSoon } from "./collect-garbage.ts";

test("garbage is collected once, soon after the last call", async () => {
  const collections: (number | undefined)[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind, flags } = (entry as PerformanceEntry & { detail: { kind?: number; flags?: number } }).detail;
      if (flags !== constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) continue;
      collections.push(kind);
      resolve();
    }
  });
  observer.observe({ entryTypes: ["gc"] });
  for (let i = 0; i < 3; i++) collectGarbageSoon();
  // The call alone does not keep the event loop running.
  const timeout = AbortSignal.timeout(30_000);
  const awake = setInterval(() => {}, 1000);
  await Promise.race([promise, once(timeout, "abort")]);
  clearInterval(awake);
  observer.disconnect();
  assert.deepEqual(collections, [constants.NODE_PERFORMANCE_GC_MAJOR]);
});
