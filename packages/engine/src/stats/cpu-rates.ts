/** CPU time that had been used at some time. */
interface Sample {
  /** Of a clock that is never set. */
  atMs: number;
  usageNs: bigint;
}

/** A shorter time says more of the scheduler than of the container. */
const minWindowMs = 1000;
/** Samples that are closer together are not kept. */
const spacingMs = 5000;

/**
 * How fast containers and pods use CPU time, from samples of how much they have used. A rate is
 * over the last 1 to 10 seconds or so when samples come every 10 s or more often; before there are
 * two samples at least a second apart there is none.
 */
export class CpuRates {
  /** By id: one to three samples, oldest first. */
  readonly #samples = new Map<string, Sample[]>();

  /** Notes a sample and gives the rate until then, in billionths of a core; undefined when it is not known yet. */
  note(id: string, atMs: number, usageNs: bigint): bigint | undefined {
    const kept = this.#samples.get(id) ?? [];
    const latest = kept.at(-1);
    // Used less than before: another cgroup of the same name.
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

  /** Forgets all but these. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#samples.keys()) if (!ids.has(id)) this.#samples.delete(id);
  }
}
