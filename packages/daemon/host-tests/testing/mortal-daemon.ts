import type { TestNode } from "./test-node.ts";

/** A node's daemon that is killed while others work with it. */
export class MortalDaemon {
  readonly #node: TestNode;
  #life = 0;
  #up = Promise.resolve();

  constructor(node: TestNode) {
    this.#node = node;
  }

  /** What a kubelet does: work that the daemon's end cut off is done again with the next one. */
  async insist<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      await this.#up;
      const life = this.#life;
      try {
        return await work();
      } catch (error) {
        if (life === this.#life) throw error;
      }
    }
  }

  /** Kills the daemon and starts it again; nobody who insists works with the new one before `first` is over. */
  async restart(first: () => Promise<void>): Promise<void> {
    this.#life++;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#up = promise;
    await this.#node.kill("SIGKILL");
    await this.#node.startAgain();
    await first();
    resolve();
  }
}
