import { Code, StatusError } from "@keelson/base/status.ts";
import type { RecordTable } from "./record-table.ts";

/** Called with a record that is new (`before` undefined), changed, or gone (`after` undefined). */
export type ChangeListener<R> = (before: R | undefined, after: R | undefined) => void;

/** What stands in memory for a row that cannot be read: as much of its record as can be. */
export interface StandIn<R> {
  readonly record: R;
  /** The id of the row, which may be damaged too. */
  readonly rowId: string;
}

/**
 * The records of one kind: on disk in a RecordTable, in memory for reading. A record is never
 * changed in place, so a list that was handed out stays as it was: readers take no lock.
 *
 * A row that cannot be read has a stand-in here. It is found, listed, changed in memory and deleted like any record, and
 * its name is taken; its row stays as it is, byte for byte, until it is deleted.
 */
export class RecordStore<R extends { readonly id: string; readonly name: string }> {
  readonly #table: RecordTable<R>;
  readonly #kind: string;
  readonly #byId = new Map<string, R>();
  readonly #idByName = new Map<string, string>();
  readonly #waiters = new Map<string, Set<() => void>>();
  readonly #listeners = new Set<ChangeListener<R>>();
  /** Record id → row id. */
  readonly #standIns = new Map<string, string>();
  #snapshot: readonly R[] | undefined;

  /** @param kind what a record is called in errors, such as `container`. */
  constructor(table: RecordTable<R>, kind: string, records: Iterable<R>, standIns: Iterable<StandIn<R>> = []) {
    this.#table = table;
    this.#kind = kind;
    for (const record of records) this.#index(record);
    for (const { record, rowId } of standIns) {
      // Of two rows with one id, the one that can be read counts.
      if (this.#byId.has(record.id)) continue;
      this.#standIns.set(record.id, rowId);
      this.#index(record);
    }
  }

  /** All records; the same array until something changes. */
  all(): readonly R[] {
    this.#snapshot ??= [...this.#byId.values()];
    return this.#snapshot;
  }

  get(id: string): R | undefined {
    return this.#byId.get(id);
  }

  byName(name: string): R | undefined {
    const id = this.#idByName.get(name);
    return id === undefined ? undefined : this.#byId.get(id);
  }

  /**
   * The record with this id or with an id that begins so, as clients shorten them. Throws
   * InvalidArgument when several do.
   */
  find(idOrPrefix: string): R | undefined {
    const exact = this.#byId.get(idOrPrefix);
    if (exact !== undefined || idOrPrefix === "") return exact;
    let found: R | undefined;
    for (const [id, record] of this.#byId) {
      if (!id.startsWith(idOrPrefix)) continue;
      if (found !== undefined) {
        throw new StatusError(
          Code.InvalidArgument,
          `${this.#kind} ${idOrPrefix}: more than one id begins so; give more of it`,
        );
      }
      found = record;
    }
    return found;
  }

  /** As find, but throws NotFound when there is none. */
  require(idOrPrefix: string): R {
    const found = this.find(idOrPrefix);
    if (found === undefined)
      throw new StatusError(Code.NotFound, `${this.#kind} ${idOrPrefix || '""'}: there is none with this id`);
    return found;
  }

  /** Adds a record; durable when it returns. Throws AlreadyExists when the name is taken. */
  insert(record: R): void {
    const holder = this.#idByName.get(record.name);
    if (holder !== undefined) {
      throw new StatusError(
        Code.AlreadyExists,
        `${this.#kind} name ${record.name} is taken by ${holder}; remove that one first`,
      );
    }
    this.#table.insert(record.id, record);
    this.#index(record);
    this.#changed(record.id, undefined, record);
  }

  /**
   * The atomic step: replaces a record by what `change` makes of it; durable when it returns, but for a stand-in, which
   * changes in memory alone. Throws NotFound when the record is gone, and what `change` throws.
   */
  update(id: string, change: (record: R) => R): R {
    const before = this.#byId.get(id);
    if (before === undefined) throw new StatusError(Code.NotFound, `${this.#kind} ${id}: it was removed meanwhile`);
    const after = change(before);
    if (after === before) return before;
    if (!this.#standIns.has(id)) this.#table.put(id, after);
    this.#byId.set(id, after);
    this.#changed(id, before, after);
    return after;
  }

  /** Forgets a record; nothing happens when it is gone. */
  delete(id: string): void {
    const record = this.#byId.get(id);
    if (record === undefined) return;
    this.#table.delete(this.#standIns.get(id) ?? id);
    this.#standIns.delete(id);
    this.#byId.delete(id);
    if (this.#idByName.get(record.name) === id) this.#idByName.delete(record.name);
    this.#changed(id, record, undefined);
  }

  /** Resolves with the record, or undefined when it is gone, as soon as `condition` holds. */
  async until(id: string, condition: (record: R) => boolean, signal: AbortSignal): Promise<R | undefined> {
    for (;;) {
      const record = this.#byId.get(id);
      if (record === undefined || condition(record)) return record;
      await this.#nextChange(id, signal);
    }
  }

  /** Calls back at once with each change, in their order, until it is disposed of. The listener must not throw. */
  subscribe(listener: ChangeListener<R>): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  #nextChange(id: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const waiters = this.#waiters.get(id) ?? new Set();
    this.#waiters.set(id, waiters);
    return new Promise((resolve, reject) => {
      const wake = () => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = () => {
        waiters.delete(wake);
        reject(signal.reason as Error);
      };
      waiters.add(wake);
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  #index(record: R): void {
    this.#byId.set(record.id, record);
    // A stand-in may have no name, or that of another.
    if (record.name !== "" && !this.#idByName.has(record.name)) this.#idByName.set(record.name, record.id);
  }

  #changed(id: string, before: R | undefined, after: R | undefined): void {
    this.#snapshot = undefined;
    for (const listener of this.#listeners) listener(before, after);
    const waiters = this.#waiters.get(id);
    this.#waiters.delete(id);
    for (const wake of waiters ?? []) wake();
  }
}
