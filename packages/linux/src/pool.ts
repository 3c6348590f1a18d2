import { native } from "./native.ts";

/**
 * Starts all threads of libuv's pool (UV_THREADPOOL_SIZE, 4 by default). They keep for ever the namespaces and root of
 * the thread that uses the pool first, so call this once at boot, from the main thread. Rejects when some are too busy
 * to answer in time.
 */
export async function warmThreadPool({ timeoutMs = 5000 }: { timeoutMs?: number } = {}): Promise<void> {
  const wanted = poolSize(process.env.UV_THREADPOOL_SIZE);
  const met = await native.warmPool(timeoutMs);
  if (met < wanted)
    throw new Error(`warm the thread pool: ${met} of ${wanted} threads answered within ${timeoutMs} ms`);
}

function poolSize(text: string | undefined): number {
  const size = text === undefined ? 4 : Number.parseInt(text, 10) || 1;
  return size < 0 || size > 1024 ? 1024 : size;
}
