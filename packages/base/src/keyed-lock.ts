/** A lock for each key, first come, first served: `using _ = await lock.acquire(id, signal)`. */
export class KeyedLock {
  readonly #queues = new Map<string, Queue>();

  /** Waits for the key. Rejects with the signal's reason when it aborts first; the waiter then leaves the queue. */
  acquire(key: string, signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    const held = this.#hold(key);
    const queue = this.#queues.get(key);
    if (queue === undefined) {
      this.#queues.set(key, { sinceMs: performance.now(), waiters: [] });
      return Promise.resolve(held);
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        grant: () => {
          signal.removeEventListener("abort", leave);
          resolve(held);
        },
      };
      const leave = () => {
        queue.waiters.splice(queue.waiters.indexOf(waiter), 1);
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", leave, { once: true });
      queue.waiters.push(waiter);
    });
  }

  /** How many keys are held. */
  get size(): number {
    return this.#queues.size;
  }

  /** The keys that are held: since when the present holder has it (performance.now()), and how many wait for it. */
  *held(): Iterable<{ key: string; sinceMs: number; waiting: number }> {
    for (const [key, { sinceMs, waiters }] of this.#queues) yield { key, sinceMs, waiting: waiters.length };
  }

  #hold(key: string): Disposable {
    let released = false;
    return {
      [Symbol.dispose]: () => {
        if (released) return;
        released = true;
        const queue = this.#queues.get(key);
        const next = queue?.waiters.shift();
        if (queue === undefined || next === undefined) {
          this.#queues.delete(key);
          return;
        }
        queue.sinceMs = performance.now();
        next.grant();
      },
    };
  }
}

interface Queue {
  sinceMs: number;
  waiters: Waiter[];
}

interface Waiter {
  grant: () => void;
}
