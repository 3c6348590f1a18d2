/**
 * Waits until all have ended, even if one fails, so that none of them goes on afterwards; then throws the first
 * failure.
 */
export async function allDone(work: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}
