import { dirname, join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { Code, StatusError } from "@keelson/base/status.ts";
import { DiskReserve } from "./disk-reserve.ts";
import { parseRecordText, recordText } from "./record-json.ts";
import { isFull } from "./sqlite-error.ts";

export const tableNames = ["pods", "containers", "images", "layers"] as const;
export type TableName = (typeof tableNames)[number];

/** A row whose record this build cannot read. */
export interface UnreadableRow {
  readonly id: string;
  /** The record as it is kept. */
  readonly text: string;
  /** What is wrong with it. */
  readonly reason: string;
}

/** What a table holds. */
export interface Rows<T> {
  readonly records: ReadonlyMap<string, T>;
  readonly unreadable: readonly UnreadableRow[];
}

/**
 * A table of records by id, each kept as JSON: small documents that are read at start and written whole. Each write is
 * durable when it returns (about 0.2 ms).
 *
 * `parse` checks what is read back: the file may have been damaged or written by another version.
 */
export class RecordTable<T extends { readonly id: string }> {
  readonly #db: DatabaseSync;
  readonly #name: TableName;
  readonly #all: StatementSync;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;
  readonly #parse: (value: unknown) => T;
  readonly #format: (record: T) => unknown;
  /** None for a database in memory. */
  readonly #reserve: DiskReserve | undefined;

  /**
   * @param db of this build's schema version.
   * @param format what is written as JSON, when the record itself is not.
   */
  constructor(
    db: DatabaseSync,
    name: TableName,
    parse: (value: unknown) => T,
    format: (record: T) => unknown = (record) => record,
  ) {
    this.#db = db;
    this.#name = name;
    this.#all = db.prepare(`SELECT id, record FROM ${name} ORDER BY id`);
    this.#put = db.prepare(
      `INSERT INTO ${name} (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record`,
    );
    this.#delete = db.prepare(`DELETE FROM ${name} WHERE id = ?`);
    this.#parse = parse;
    this.#format = format;
    const location = db.location();
    this.#reserve = location === null ? undefined : new DiskReserve(join(dirname(location), "reserve"));
    this.#reserve?.hold();
  }

  /** Every record, and apart from them the rows that cannot be read, with the reason. */
  readAll(): Rows<T> {
    return parseRows(this.#all.all(), this.#parse);
  }

  /** Writes a new record. Throws ResourceExhausted when the file system is full. */
  insert(id: string, record: T): void {
    this.#write(() => this.#put.run(id, this.#textOf(record)));
    this.#reserve?.hold();
  }

  /** Writes a record that may exist. On a full file system the reserve is used; throws ResourceExhausted when that is gone too. */
  put(id: string, record: T): void {
    this.#writeInAnyCase(() => this.#put.run(id, this.#textOf(record)));
  }

  /** As put. */
  delete(id: string): void {
    this.#writeInAnyCase(() => this.#delete.run(id));
  }

  /**
   * Writes a record in place of a row that cannot be read, which goes to the table `damaged` as it is, byte for byte,
   * with the reason and the time. Throws ResourceExhausted when the file system is full.
   */
  replaceUnreadable({ id, reason }: UnreadableRow, record: T): void {
    this.#write(() => {
      this.#db.exec("BEGIN IMMEDIATE");
      try {
        this.#db
          .prepare(`INSERT INTO damaged SELECT ?, id, record, ?, ? FROM ${this.#name} WHERE id = ?`)
          .run(this.#name, reason, Date.now(), id);
        this.#delete.run(id);
        this.#put.run(record.id, this.#textOf(record));
        this.#db.exec("COMMIT");
      } catch (error) {
        // SQLite has rolled back already after some errors, such as a full disk.
        if (this.#db.isTransaction) this.#db.exec("ROLLBACK");
        throw error;
      }
    });
  }

  #textOf(record: T): string {
    return recordText(this.#format(record));
  }

  #writeInAnyCase(statement: () => unknown): void {
    try {
      statement();
    } catch (error) {
      if (!isFull(error) || this.#reserve?.release() !== true) throw this.#named(error);
      this.#write(statement);
    }
  }

  #write(statement: () => unknown): void {
    try {
      statement();
    } catch (error) {
      throw this.#named(error);
    }
  }

  #named(error: unknown): unknown {
    if (!isFull(error)) return error;
    return new StatusError(
      Code.ResourceExhausted,
      `state database ${this.#db.location() ?? ""}: there is no room on its file system; free some, for example by removing images`,
      error,
    );
  }
}

/** Reads rows of `id` and `record`, each by itself. A record whose id is not its row's is unreadable too: one of the two is damaged. */
export function parseRows<T extends { readonly id: string }>(
  rows: readonly Record<string, unknown>[],
  parse: (value: unknown) => T,
): Rows<T> {
  const records = new Map<string, T>();
  const unreadable: UnreadableRow[] = [];
  for (const row of rows) {
    const id = String(row["id"]);
    const text = String(row["record"]);
    try {
      const record = parse(parseRecordText(text));
      if (record.id !== id) throw new Error(`it is of ${record.id}`);
      records.set(id, record);
    } catch (error) {
      unreadable.push({ id, text, reason: (error as Error).message });
    }
  }
  return { records, unreadable };
}
