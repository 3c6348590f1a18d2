/**
 * One lock for each key, first come first served. Holding it is a Disposable:
 * `using _ = await lock.acquire(id, signal)`.
 */
export class KeyedLock {
  readonly #queues = new Map<string, Waiter[]>();

  /**
   * Waits for the key. Rejects with the signal's reason when it aborts first; the waiter then
   * leaves the queue.
   */
  acquire(key: string, signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    const held = this.#hold(key);
    const queue = this.#queues.get(key);
    if (queue === undefined) {
      this.#queues.set(key, []);
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
        queue.splice(queue.indexOf(waiter), 1);
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", leave, { once: true });
      queue.push(waiter);
    });
  }

  /** How many keys are held now. */
  get size(): number {
    return this.#queues.size;
  }

  #hold(key: string): Disposable {
    let released = false;
    return {
      [Symbol.dispose]: () => {
        if (released) return;
        released = true;
        const next = this.#queues.get(key)?.shift();
        if (next === undefined) this.#queues.delete(key);
        else next.grant();
      },
    };
  }
}

interface Waiter {
  grant: () => void;
}
