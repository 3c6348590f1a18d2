import { type FSWatcher, watch } from "node:fs";
import { basename, dirname } from "node:path";
import type { LogWaiter } from "./read-log.ts";

/** Changes without an event, and the end of the container, are noticed after this time at the latest, in ms. */
const checkMs = 1000;

/** Watches the directory of a log, and calls `hasEnded` for the container at most once a second. */
export function createLogWaiter(
  path: string,
  hasEnded: () => Promise<boolean>,
  sleep: (ms: number, signal: AbortSignal) => Promise<void>,
  signal: AbortSignal,
): LogWaiter & Disposable {
  let wake = new AbortController();
  let nextCheckMs = 0;
  const watcher = watchDirectory(dirname(path), (name) => {
    if (name === null || name === basename(path)) wake.abort();
  });
  return {
    async isOver() {
      if (performance.now() < nextCheckMs) return false;
      const isOver = await hasEnded();
      nextCheckMs = performance.now() + checkMs;
      return isOver;
    },
    async changed() {
      await sleep(checkMs, AbortSignal.any([signal, wake.signal])).catch(() => {});
      signal.throwIfAborted();
      wake = new AbortController();
    },
    [Symbol.dispose]: () => watcher?.close(),
  };
}

/** Undefined when it cannot be watched (no such directory yet, no more watches): the regular checks suffice. */
function watchDirectory(directory: string, listener: (name: string | null) => void): FSWatcher | undefined {
  try {
    const watcher = watch(directory, (_, name) => listener(name));
    watcher.on("error", () => watcher.close());
    return watcher;
  } catch {
    return undefined;
  }
}
