import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import type { ContainerRecord } from "../records/container-record.ts";

/** Asks a container's runtime what the container uses; rejects or gives nothing when it cannot tell. */
export type AskRuntime = (signal: AbortSignal) => Promise<CgroupUsage | undefined>;

export interface GuestUsagesDeps {
  /** undefined for a container whose cgroup has the numbers. */
  runtimeOf(record: ContainerRecord): AskRuntime | undefined;
  nowNs(): bigint;
  /** Of a clock that is never set. */
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

/** Who is asked again sooner gets the numbers from before. */
const minAgeMs = 1000;
/** How long a runtime may take. */
const askTimeoutMs = 10_000;
/** How long an answer may wait for the first numbers of a container. */
const firstAnswerMs = 250;
/** Each may be a process of the runtime's. */
const maxAsking = 4;

/**
 * What containers use that are in a guest or under another kernel, where the host's cgroups tell nothing of a single one.
 * Their runtimes are asked in the background, and an answer to a client has what they said last: one that hangs holds up
 * nobody.
 */
export class GuestUsages {
  readonly #d: GuestUsagesDeps;
  readonly #entries = new Map<string, Entry>();
  readonly #waiting: (() => Promise<void>)[] = [];
  #asking = 0;

  constructor(deps: GuestUsagesDeps) {
    this.#d = deps;
  }

  /** Whether the numbers of a container are its runtime's to tell. */
  has(record: ContainerRecord): boolean {
    return this.#d.runtimeOf(record) !== undefined;
  }

  /** The last numbers of these, by id; those that have none yet are waited for, but not long. */
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

  /** Forgets all but these. */
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
      // It ends, or hangs: what it used before is told with its time.
    }
    entry.askedAtMs = this.#d.nowMs();
    entry.asking = undefined;
  }
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
