import { native } from "./native.ts";

/**
 * Makes all of libuv's pool threads exist (UV_THREADPOOL_SIZE of them, 4 when not set). They keep for ever the
 * namespaces and root of the thread that first uses the pool, so call it once at boot, from the main thread. Rejects
 * when they don't meet in time, because all are busy.
 */
export async function warmThreadPool({ timeoutMs = 5000 }: { timeoutMs?: number } = {}): Promise<void> {
  const wanted = poolSize(process.env.UV_THREADPOOL_SIZE);
  const met = await native.warmPool(timeoutMs);
  if (met < wanted) throw new Error(`warm the thread pool: ${met} of ${wanted} threads came within ${timeoutMs} ms`);
}

function poolSize(text: string | undefined): number {
  const size = text === undefined ? 4 : Number.parseInt(text, 10) || 1;
  return size < 0 || size > 1024 ? 1024 : size;
}
