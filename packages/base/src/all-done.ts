/** Waits until all have ended, also when one fails, so that nothing of them goes on afterwards; then throws the first failure. */
export async function allDone(work: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}
