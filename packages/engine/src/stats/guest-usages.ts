import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import type { ContainerRecord } from "../records/container-record.ts";

/**
 * Asks a container's runtime what the container uses. Rejects, or resolves to undefined, when the runtime does not
 * know.
 */
export type AskRuntime = (signal: AbortSignal) => Promise<CgroupUsage | undefined>;

export interface GuestUsagesDeps {
  /** undefined for a container whose cgroup shows its usage. */
  runtimeOf(record: ContainerRecord): AskRuntime | undefined;
  nowNs(): bigint;
  /** From a monotonic clock. */
  nowMs(): number;
}

/** What a container used when its runtime was last asked. */
export interface GuestUsage {
  atNs: bigint;
  atMs: number;
  cgroup: CgroupUsage;
}

interface Entry {
  usage: GuestUsage | undefined;
  askedAtMs: number;
  asking: Promise<void> | undefined;
}

/** Within this time the last answer is used again. */
const minAgeMs = 1000;
/** How long a runtime may take. */
const askTimeoutMs = 10_000;
/** How long an answer may wait for the first usage of a container. */
const firstAnswerMs = 250;
/** How many are asked at once: each may start a process of the runtime. */
const maxAsking = 4;

/**
 * What containers use that run in a guest or under another kernel, where the host's cgroups do not show single
 * containers. Their runtimes are asked in the background, and clients get the last answer, so that a runtime that hangs
 * holds up nobody.
 */
export class GuestUsages {
  readonly #d: GuestUsagesDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #waiting: (() => Promise<void>)[] = [];
  #asking = 0;

  constructor(deps: GuestUsagesDeps) {
    this.#d = deps;
  }

  /** Whether only its runtime knows what a container uses. */
  has(record: ContainerRecord): boolean {
    return this.#d.runtimeOf(record) !== undefined;
  }

  /** The last usage of these, by id. Waits for first answers, but not for long. */
  async of(records: readonly ContainerRecord[]): Promise<Map<string, GuestUsage>> {
    const asked = records.map((record) => this.#refresh(record));
    const first = asked.filter((_, i) => this.#entries.get(records[i]!.id)?.usage === undefined);
    if (first.length > 0) await Promise.race([Promise.all(first), delay(firstAnswerMs)]);
    return new Map(
      records.flatMap(({ id }) => {
        const usage = this.#entries.get(id)?.usage;
        return usage === undefined ? [] : [[id, usage] as const];
      }),
    );
  }

  /** Forgets all others. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#entries.keys()) if (!ids.has(id)) this.#entries.delete(id);
  }

  #refresh(record: ContainerRecord): Promise<void> {
    const ask = this.#d.runtimeOf(record);
    if (ask === undefined) return Promise.resolve();
    const entry = this.#entries.get(record.id) ?? { usage: undefined, askedAtMs: -Infinity, asking: undefined };
    this.#entries.set(record.id, entry);
    if (entry.asking === undefined && this.#d.nowMs() - entry.askedAtMs >= minAgeMs)
      entry.asking = this.#inTurn(() => this.#ask(ask, entry));
    return entry.asking ?? Promise.resolve();
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(() => task().finally(resolve));
      this.#next();
    });
  }

  #next(): void {
    while (this.#asking < maxAsking) {
      const task = this.#waiting.shift();
      if (task === undefined) return;
      this.#asking += 1;
      void task().finally(() => {
        this.#asking -= 1;
        this.#next();
      });
    }
  }

  async #ask(ask: AskRuntime, entry: Entry): Promise<void> {
    try {
      const cgroup = await ask(AbortSignal.timeout(askTimeoutMs));
      if (cgroup !== undefined) entry.usage = { cgroup, atNs: this.#d.nowNs(), atMs: this.#d.nowMs() };
    } catch {
      // It ends, or hangs: clients get its last usage, with the time of that.
    }
    entry.askedAtMs = this.#d.nowMs();
    entry.asking = undefined;
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
