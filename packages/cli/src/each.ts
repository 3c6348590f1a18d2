import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";

/**
 * Does something for all items concurrently, and hands over each result as early as the order of the items allows.
 * Continues when one fails, and throws at the end, with every message.
 */
export async function forEachAtOnce<T, R>(
  items: readonly T[],
  body: (item: T) => Promise<R>,
  done: (result: R) => Promise<void>,
): Promise<void> {
  const limit = 16;
  const results: PromiseWithResolvers<R>[] = items.map(() => Promise.withResolvers<R>());
  for (const { promise } of results) promise.catch(() => {});
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const i = next++;
      await body(items[i]!).then(results[i]!.resolve, results[i]!.reject);
    }
  };
  const workers = Array.from({ length: Math.min(limit, items.length) }, worker);
  const errors: unknown[] = [];
  for (const { promise } of results) {
    try {
      await done(await promise);
    } catch (error) {
      errors.push(error);
    }
  }
  await Promise.all(workers);
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1)
    throw new StatusError(codeOf(errors[0]) || Code.Unknown, errors.map(messageOf).join("\n"), errors);
}
