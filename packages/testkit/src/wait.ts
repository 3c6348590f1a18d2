import { setTimeout as sleep } from "node:timers/promises";

/** How many times longer than usual everything may take: more than 1 on an emulated machine (`npm run test:guest`). */
export const slowness = Number(process.env["KEELSON_TEST_SLOWNESS"] ?? 1);

/**
 * Calls `condition` every 10 ms until it returns something truthy, and returns that. Throws with `message` after
 * `timeoutMs` (default: 30 s; times `slowness`), or at once when the condition throws.
 */
export async function waitFor<T>(
  condition: () => T | Promise<T>,
  options: { timeoutMs?: number; message?: string | (() => string) } = {},
): Promise<NonNullable<T>> {
  const timeoutMs = (options.timeoutMs ?? 30_000) * slowness;
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (performance.now() >= deadline) {
      const message = typeof options.message === "function" ? options.message() : options.message;
      throw new Error(`waited ${timeoutMs} ms in vain${message === undefined ? "" : `: ${message}`}`);
    }
    await sleep(10);
  }
}
