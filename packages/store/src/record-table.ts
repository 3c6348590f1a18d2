import { dirname, join } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { Code, StatusError } from "@keelson/base/status.ts";
import { DiskReserve } from "./disk-reserve.ts";

/**
 * Opens the daemon's state (`ROOT/state.db`): WAL so that a kill -9 costs nothing, synchronous=FULL
 * so that a commit that was answered survives a power cut. One daemon writes, which holds the root's
 * lock; `keelsond check` may read beside it, and costs a write some 3 us.
 */
export function openDatabase(path: string): DatabaseSync {
  // A reader never blocks a writer in WAL mode, but for the moment in which either opens the file.
  const db = new DatabaseSync(path, { timeout: 5000 });
  try {
    db.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON");
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

export const tableNames = ["pods", "containers", "images", "layers"] as const;
export type TableName = (typeof tableNames)[number];

/** A row whose record cannot be read, and why. */
export interface DamagedRow {
  id: string;
  error: Error;
}

/**
 * A table of records by id, each kept as JSON: small documents that are read at start and written
 * whole. Each write is durable when it returns (about 0.2 ms).
 *
 * `parse` checks what is read back: the file may have been damaged or written by another version.
 */
export class RecordTable<T> {
  readonly #db: DatabaseSync;
  readonly #name: TableName;
  readonly #all: StatementSync;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;
  readonly #parse: (value: unknown) => T;
  readonly #format: (record: T) => unknown;
  /** None for a database in memory. */
  readonly #reserve: DiskReserve | undefined;

  /** @param format what is written as JSON, when the record itself is not. */
  constructor(
    db: DatabaseSync,
    name: TableName,
    parse: (value: unknown) => T,
    format: (record: T) => unknown = (record) => record,
  ) {
    db.exec(`CREATE TABLE IF NOT EXISTS ${name} (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID, STRICT`);
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

  /** Moves a row that cannot be read out of the way, as it is, into the table `damaged`, where a person may look at it. */
  setAside({ id, error }: DamagedRow): void {
    setAside(this.#db, this.#name, id, error.message);
  }

  /** Every record, and apart from them those that cannot be read, with the reason. */
  readAll(): { records: Map<string, T>; damaged: DamagedRow[] } {
    return parseRows(this.#all.all(), this.#parse);
  }

  /** Writes a new record. Throws ResourceExhausted when the file system is full. */
  insert(id: string, record: T): void {
    this.#write(() => this.#put.run(id, this.#textOf(record)));
    this.#reserve?.hold();
  }

  /** Writes a record that may be there. On a full file system the reserve is used; throws ResourceExhausted when that is gone too. */
  put(id: string, record: T): void {
    this.#writeInAnyCase(() => this.#put.run(id, this.#textOf(record)));
  }

  /** As put. */
  delete(id: string): void {
    this.#writeInAnyCase(() => this.#delete.run(id));
  }

  #textOf(record: T): string {
    return JSON.stringify(this.#format(record), replaceBigint);
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

/** SQLITE_FULL of https://www.sqlite.org/rescode.html. */
function isFull(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === 13;
}

/** Reads rows of `id` and `record`, each by itself. */
export function parseRows<T>(
  rows: readonly Record<string, unknown>[],
  parse: (value: unknown) => T,
): { records: Map<string, T>; damaged: DamagedRow[] } {
  const records = new Map<string, T>();
  const damaged: DamagedRow[] = [];
  for (const row of rows) {
    const id = String(row["id"]);
    try {
      records.set(id, parse(JSON.parse(String(row["record"]), reviveBigint)));
    } catch (error) {
      damaged.push({ id, error: error as Error });
    }
  }
  return { records, damaged };
}

/** Moves a row into the table `damaged`, byte for byte, with the reason and the time. Durable when it returns. */
export function setAside(db: DatabaseSync, table: TableName, id: string, reason: string): void {
  db.exec(
    "CREATE TABLE IF NOT EXISTS damaged (source TEXT NOT NULL, id TEXT NOT NULL, record ANY, reason TEXT NOT NULL, atMs INTEGER NOT NULL) STRICT",
  );
  db.exec("BEGIN IMMEDIATE");
  try {
    db.prepare(`INSERT INTO damaged SELECT ?, id, record, ?, ? FROM ${table} WHERE id = ?`).run(
      table,
      reason,
      Date.now(),
      id,
    );
    db.prepare(`DELETE FROM ${table} WHERE id = ?`).run(id);
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}

// JSON has no bigint: nanoseconds and int64 limits are kept as {"$n": "123"}.
function replaceBigint(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? { $n: value.toString() } : value;
}

function reviveBigint(_key: string, value: unknown): unknown {
  if (
    typeof value === "object" &&
    value !== null &&
    "$n" in value &&
    typeof value.$n === "string" &&
    /^-?\d+$/.test(value.$n)
  ) {
    return BigInt(value.$n);
  }
  return value;
}
