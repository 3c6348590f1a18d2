import { DatabaseSync, type StatementSync } from "node:sqlite";

/**
 * Opens the daemon's state (`ROOT/state.db`): WAL so that a kill -9 costs nothing, synchronous=FULL
 * so that a commit that was answered survives a power cut. Opened exclusively by one daemon, which
 * holds the root's lock.
 */
export function openDatabase(path: string): DatabaseSync {
  const db = new DatabaseSync(path);
  db.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA locking_mode=EXCLUSIVE; PRAGMA foreign_keys=ON");
  return db;
}

/**
 * A table of records by id, each kept as JSON: small documents that are read at start and written
 * whole. Each write is durable when it returns (about 0.2 ms).
 *
 * `parse` checks what is read back: the file may have been damaged or written by another version.
 */
export class RecordTable<T> {
  readonly #all: StatementSync;
  readonly #put: StatementSync;
  readonly #delete: StatementSync;
  readonly #parse: (value: unknown) => T;
  readonly #format: (record: T) => unknown;

  /** @param format what is written as JSON, when the record itself is not. */
  constructor(
    db: DatabaseSync,
    name: "pods" | "containers" | "images" | "layers",
    parse: (value: unknown) => T,
    format: (record: T) => unknown = (record) => record,
  ) {
    db.exec(`CREATE TABLE IF NOT EXISTS ${name} (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID, STRICT`);
    this.#all = db.prepare(`SELECT id, record FROM ${name} ORDER BY id`);
    this.#put = db.prepare(`INSERT INTO ${name} (id, record) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET record = excluded.record`);
    this.#delete = db.prepare(`DELETE FROM ${name} WHERE id = ?`);
    this.#parse = parse;
    this.#format = format;
  }

  /** Every record, and apart from them those that cannot be read, with the reason. */
  readAll(): { records: Map<string, T>; damaged: { id: string; error: Error }[] } {
    const records = new Map<string, T>();
    const damaged: { id: string; error: Error }[] = [];
    for (const row of this.#all.all()) {
      const id = String(row["id"]);
      try {
        records.set(id, this.#parse(JSON.parse(String(row["record"]), reviveBigint)));
      } catch (error) {
        damaged.push({ id, error: error as Error });
      }
    }
    return { records, damaged };
  }

  put(id: string, record: T): void {
    this.#put.run(id, JSON.stringify(this.#format(record), replaceBigint));
  }

  delete(id: string): void {
    this.#delete.run(id);
  }
}

// JSON has no bigint: nanoseconds and int64 limits are kept as {"$n": "123"}.
function replaceBigint(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? { $n: value.toString() } : value;
}

function reviveBigint(_key: string, value: unknown): unknown {
  if (typeof value === "object" && value !== null && "$n" in value && typeof value.$n === "string" && /^-?\d+$/.test(value.$n)) {
    return BigInt(value.$n);
  }
  return value;
}
