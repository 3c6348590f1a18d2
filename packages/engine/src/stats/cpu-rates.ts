/** CPU time used up to a point in time. */
interface Sample {
  /** From a monotonic clock. */
  atMs: number;
  usageNs: bigint;
}

/** A shorter window says more about the scheduler than about the container. */
const minWindowMs = 1000;
/** Samples that are closer together are not kept. */
const spacingMs = 5000;

/**
 * How fast containers and pods use CPU time, from samples of how much they have used. With a sample at least every 10
 * s, a rate covers about the last 1 to 10 seconds; it is unknown until two samples are at least a second apart.
 */
export class CpuRates {
  /** By id: one to three samples, oldest first. */
  readonly #samples = new Map<string, Sample[]>();

  /** Records a sample and returns the rate up to it, in billionths of a core; undefined while it is not known. */ record(
    id: string,
    atMs: number,
    usageNs: bigint,
  ): bigint | undefined {
    const kept = this.#samples.get(id) ?? [];
    const latest = kept.at(-1);
    // Less than before: another cgroup of the same name.
    const known = latest !== undefined && usageNs < latest.usageNs ? [] : kept;
    const base = known.findLast((sample) => atMs - sample.atMs >= minWindowMs);
    const last = known.at(-1);
    if (last === undefined || atMs - last.atMs >= spacingMs)
      this.#samples.set(id, [...known, { atMs, usageNs }].slice(-2));
    if (base === undefined) return undefined;
    return ((usageNs - base.usageNs) * 1000n) / BigInt(Math.round(atMs - base.atMs));
  }

  has(id: string): boolean {
    return this.#samples.has(id);
  }

  /** Forgets all others. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#samples.keys()) if (!ids.has(id)) this.#samples.delete(id);
  }
}
