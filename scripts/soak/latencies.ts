/** How much wider each bucket is than the previous one, and so the precision of quantiles. */
const growth = 1.02;
/** The first bucket ends here. */
const smallestMs = 0.01;

/** The durations of any number of calls, in a few hundred numbers. */
export class Latencies {
  readonly #buckets: number[] = [];
  #count = 0;
  #maxMs = 0;

  get count(): number {
    return this.#count;
  }

  /** The exact maximum. */
  get maxMs(): number {
    return this.#maxMs;
  }

  add(ms: number): void {
    const bucket = Math.max(0, Math.ceil(Math.log(ms / smallestMs) / Math.log(growth)));
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
    this.#count++;
    this.#maxMs = Math.max(this.#maxMs, ms);
  }

  /** `fraction` of the calls took this many ms or less; NaN without calls. */
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
