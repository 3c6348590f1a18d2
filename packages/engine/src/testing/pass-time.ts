import { setImmediate as turn } from "node:timers/promises";

/** Mocks the clock of setTimeout and of AbortSignal.timeout, which @types/node does not know yet. */
export function mockTime({ timers }: { timers: { enable(options: { apis: "setTimeout"[] }): void } }): void {
  timers.enable({ apis: ["setTimeout", "AbortSignal.timeout" as "setTimeout"] });
}

/**
 * Waits for a call while the mocked time advances in steps of a second, so that retries and timeouts happen at once.
 * Needs `mockTime`. Throws when the call takes more than an hour.
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
