import type { DiskUsage } from "@keelson/linux/tree.ts";

/** What a directory took, and when that was counted. */
export interface CountedUsage extends DiskUsage {
  atNs: bigint;
}

export interface DiskUsagesDeps {
  /** Rejects when the directory cannot be read or is gone. */
  measure(id: string): Promise<DiskUsage>;
  nowNs(): bigint;
  /** Of a clock that is never set. */
  nowMs(): number;
}

interface Entry {
  usage: CountedUsage | undefined;
  countedAtMs: number;
  tookMs: number;
  counting: Promise<void> | undefined;
}

/** A count is good for this long, */
const minAgeMs = 10_000;
/** and for so many times what it took: walking a million files must not become what the disk does. */
const costFactor = 30;
/** How long an answer may wait for the first count of a directory. */
const firstCountMs = 250;

/**
 * What containers' writable layers take on disk. Counting walks all of their files, so it is done
 * one at a time off the main thread and remembered; answers say when it was counted.
 */
export class DiskUsages {
  readonly #d: DiskUsagesDeps;
  readonly #entries = new Map<string, Entry>();
  #queue: Promise<void> = Promise.resolve();

  constructor(deps: DiskUsagesDeps) {
    this.#d = deps;
  }

  /** The last counts of these, by id; those never counted are waited for, but not long. */
  async of(ids: readonly string[]): Promise<Map<string, CountedUsage>> {
    const counts = ids.map((id) => this.#refresh(id));
    const first = counts.filter((_, i) => this.#entries.get(ids[i]!)?.usage === undefined);
    if (first.length > 0) await Promise.race([Promise.all(first), delay(firstCountMs)]);
    const found = ids.flatMap((id) => {
      const usage = this.#entries.get(id)?.usage;
      return usage === undefined ? [] : [[id, usage] as const];
    });
    return new Map(found);
  }

  /** Forgets all but these. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#entries.keys()) if (!ids.has(id)) this.#entries.delete(id);
  }

  #refresh(id: string): Promise<void> {
    const entry = this.#entries.get(id) ?? { usage: undefined, countedAtMs: -Infinity, tookMs: 0, counting: undefined };
    this.#entries.set(id, entry);
    const ageMs = this.#d.nowMs() - entry.countedAtMs;
    if (entry.counting === undefined && ageMs >= Math.max(minAgeMs, entry.tookMs * costFactor)) {
      entry.counting = this.#queue = this.#queue.then(() => this.#count(id, entry));
    }
    return entry.counting ?? Promise.resolve();
  }

  async #count(id: string, entry: Entry): Promise<void> {
    const startedMs = this.#d.nowMs();
    try {
      // Forgotten while it waited its turn.
      if (this.#entries.get(id) === entry) entry.usage = { ...(await this.#d.measure(id)), atNs: this.#d.nowNs() };
    } catch {
      // Gone, or being made: the next answer tries again.
    }
    entry.countedAtMs = this.#d.nowMs();
    entry.tookMs = entry.countedAtMs - startedMs;
    entry.counting = undefined;
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
