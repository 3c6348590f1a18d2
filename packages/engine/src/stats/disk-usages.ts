import type { DiskUsage } from "@keelson/linux/tree.ts";

/** What a directory took on disk, and when that was measured. */
export interface MeasuredUsage extends DiskUsage {
  atNs: bigint;
}

export interface DiskUsagesDeps {
  /** Rejects when the directory cannot be read or is gone. */
  measure(id: string): Promise<DiskUsage>;
  nowNs(): bigint;
  /** From a monotonic clock. */
  nowMs(): number;
}

interface Entry {
  usage: MeasuredUsage | undefined;
  measuredAtMs: number;
  tookMs: number;
  measuring: Promise<void> | undefined;
}

/** A measurement is valid for at least this long, */
const minAgeMs = 10_000;
/** and for this many times as long as it took: walking a million files must not keep the disk busy. */
const costFactor = 30;
/** How long an answer may wait for the first measurement of a directory. */
const firstMeasurementMs = 250;

/**
 * What containers' writable layers take on disk. Measuring walks all their files, so it is done off the main thread,
 * one layer at a time, and remembered; answers say when it was done.
 */
export class DiskUsages {
  readonly #d: DiskUsagesDeps;
  readonly #entries = new Map<string, Entry>();
  #queue: Promise<void> = Promise.resolve();

  constructor(deps: DiskUsagesDeps) {
    this.#d = deps;
  }

  /** The last measurements of these, by id. Waits for first measurements, but not for long. */
  async of(ids: readonly string[]): Promise<Map<string, MeasuredUsage>> {
    const refreshes = ids.map((id) => this.#refresh(id));
    const first = refreshes.filter((_, i) => this.#entries.get(ids[i]!)?.usage === undefined);
    if (first.length > 0) await Promise.race([Promise.all(first), delay(firstMeasurementMs)]);
    const found = ids.flatMap((id) => {
      const usage = this.#entries.get(id)?.usage;
      return usage === undefined ? [] : [[id, usage] as const];
    });
    return new Map(found);
  }

  /** Forgets all others. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#entries.keys()) if (!ids.has(id)) this.#entries.delete(id);
  }

  #refresh(id: string): Promise<void> {
    const entry = this.#entries.get(id) ?? {
      usage: undefined,
      measuredAtMs: -Infinity,
      tookMs: 0,
      measuring: undefined,
    };
    this.#entries.set(id, entry);
    const ageMs = this.#d.nowMs() - entry.measuredAtMs;
    if (entry.measuring === undefined && ageMs >= Math.max(minAgeMs, entry.tookMs * costFactor)) {
      entry.measuring = this.#queue = this.#queue.then(() => this.#measure(id, entry));
    }
    return entry.measuring ?? Promise.resolve();
  }

  async #measure(id: string, entry: Entry): Promise<void> {
    const startedMs = this.#d.nowMs();
    try {
      // Skipped if it was forgotten while it waited its turn.
      if (this.#entries.get(id) === entry) entry.usage = { ...(await this.#d.measure(id)), atNs: this.#d.nowNs() };
    } catch {
      // Gone, or still being made: the next answer tries again.
    }
    entry.measuredAtMs = this.#d.nowMs();
    entry.tookMs = entry.measuredAtMs - startedMs;
    entry.measuring = undefined;
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
