/** How much wider each bucket is than the one before: quantiles are right to within so much. */
const growth = 1.02;
/** The first bucket ends here. */
const smallestMs = 0.01;

/** How long calls took, in a few hundred numbers however many calls there were. */
export class Latencies {
  readonly #buckets: number[] = [];
  #count = 0;
  #maxMs = 0;

  get count(): number {
    return this.#count;
  }

  /** The longest, exactly. */
  get maxMs(): number {
    return this.#maxMs;
  }

  add(ms: number): void {
    const bucket = Math.max(0, Math.ceil(Math.log(ms / smallestMs) / Math.log(growth)));
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
    this.#count++;
    this.#maxMs = Math.max(this.#maxMs, ms);
  }

  /** So much of a hundred took `quantile(0.99)` ms or less; NaN of none. */
  quantile(fraction: number): number {
    let left = Math.ceil(this.#count * fraction);
    if (this.#count === 0) return Number.NaN;
    for (const [bucket, count = 0] of this.#buckets.entries()) {
      left -= count;
      if (left <= 0) return Math.min(this.#maxMs, smallestMs * growth ** bucket);
    }
    return this.#maxMs;
  }
}
