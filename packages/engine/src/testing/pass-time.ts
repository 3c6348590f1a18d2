import { setImmediate as turn } from "node:timers/promises";

/** Stops the clock for setTimeout and AbortSignal.timeout, which @types/node does not know yet. */
export function mockTime({ timers }: { timers: { enable(options: { apis: "setTimeout"[] }): void } }): void {
  timers.enable({ apis: ["setTimeout", "AbortSignal.timeout" as "setTimeout"] });
}

/**
 * Waits for a call while time goes by in steps of a second, so that what retries or times out does so at once. Needs
 * `mockTime`. Throws when an hour is not enough.
 */
export async function passTime<T>(timers: { tick(ms: number): void }, call: Promise<T>): Promise<T> {
  const state = { isDone: false };
  const done = () => (state.isDone = true);
  call.then(done, done);
  for (let seconds = 0; seconds < 3600; seconds += 1) {
    for (let i = 0; i < 10 && !state.isDone; i += 1) await turn();
    if (state.isDone) return call;
    timers.tick(1000);
  }
  throw new Error("the call hangs");
}
