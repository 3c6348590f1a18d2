import { existsSync, renameSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import type { Log } from "@keelson/base/log.ts";
import { messageOf } from "@keelson/base/status.ts";
import { openDatabase, type TableName, tableNames } from "./record-table.ts";

/**
 * Opens the daemon's state, and one that is damaged beyond what SQLite mends by itself too: that is
 * moved aside (`state.db.damaged-TIME`), never removed, and a new one is made of the rows that can still
 * be read. What has no record any more is then taken down by recovery. Throws what else keeps it from
 * being opened, such as a full disk: that passes, and is no reason to leave the state behind.
 */
export function openOrSalvage(path: string, log: Log, now: () => number = Date.now): DatabaseSync {
  try {
    return openChecked(path);
  } catch (error) {
    if (!isCorruption(error)) throw error;
    const aside = `${path}.damaged-${new Date(now()).toISOString().replaceAll(":", "-")}`;
    log.error(
      { path, aside, err: error },
      `the state database is damaged (${messageOf(error)}): it is moved aside, and what can be read of it goes into a new one`,
    );
    moveAside(path, aside);
    const db = openDatabase(path);
    const found = salvage(db, aside);
    log.error(
      { aside, ...found },
      "the new state database holds what could be read; pods, containers and images without a record are taken down or pulled again",
    );
    return db;
  }
}

/** Which tables there are and what is in them; nothing depends on it yet. */
const tablesVersion = 1;

/** Opens and reads through the whole file: a few ms for hundreds of pods. Throws as SQLite does. */
function openChecked(path: string): DatabaseSync {
  const db = openDatabase(path);
  try {
    const problems = problemsOf(db);
    // A damaged header may say that nothing can be written, which only a write finds out.
    db.exec(`PRAGMA user_version=${tablesVersion}`);
    if (problems.length > 0) throw new DamagedDatabaseError(problems.join("; "));
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** What SQLite finds wrong with the structure of a database; empty when it is sound. Throws when it cannot even look. */
export function problemsOf(db: DatabaseSync): string[] {
  const rows = db.prepare("PRAGMA integrity_check(20)").all();
  for (const table of tableNames.filter((name) => hasTable(db, name))) db.prepare(`SELECT id, record FROM ${table}`);
  return rows
    .map((row) => String(Object.values(row)[0]))
    .filter((text) => text !== "ok")
    .map((text) => text.replaceAll("\n", " "));
}

/** Whether a database has a table. */
export function hasTable(db: DatabaseSync, name: string): boolean {
  return db.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(name) !== undefined;
}

class DamagedDatabaseError extends Error {
  override name = "DamagedDatabaseError";
}

/** Result codes (https://www.sqlite.org/rescode.html) that say nothing about the file's content: PERM BUSY LOCKED NOMEM IOERR FULL CANTOPEN AUTH. */
const passing = new Set([3, 5, 6, 7, 10, 13, 14, 23]);
/** SQLITE_IOERR_SHORT_READ: the file ends too early. */
const shortRead = 522;

/** Whether an error means that a database's content is damaged, and not that it cannot be reached. */
export function isCorruption(error: unknown): boolean {
  if (error instanceof DamagedDatabaseError) return true;
  if (!(error instanceof Error) || !("errcode" in error) || typeof error.errcode !== "number") return false;
  return error.errcode === shortRead || !passing.has(error.errcode & 0xff);
}

/** With its log, so that it can be opened where it is then. */
function moveAside(path: string, aside: string): void {
  for (const suffix of ["", "-wal", "-shm"]) if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
}

/** Copies what can be read of a damaged database; how many rows of each table. */
function salvage(to: DatabaseSync, damagedPath: string): Record<TableName, number> {
  const found = { pods: 0, containers: 0, images: 0, layers: 0 };
  try {
    using from = new DatabaseSync(damagedPath, { readOnly: true });
    for (const table of tableNames.filter((name) => hasTable(from, name)))
      found[table] = copyRows(to, table, readableRows(from, table));
  } catch (error) {
    // Not even its first page makes sense.
    if (!isCorruption(error)) throw error;
  }
  return found;
}

function copyRows(to: DatabaseSync, table: TableName, rows: ReadonlyMap<string, string>): number {
  to.exec(`CREATE TABLE IF NOT EXISTS ${table} (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID, STRICT`);
  const insert = to.prepare(`INSERT OR REPLACE INTO ${table} (id, record) VALUES (?, ?)`);
  for (const [id, record] of rows) insert.run(id, record);
  return rows.size;
}

/** Page after page from either end until one cannot be read, then the same for each range of ids. */
function readableRows(db: DatabaseSync, table: TableName): Map<string, string> {
  const rows = new Map<string, string>();
  const kinds = table === "images" || table === "layers" ? ["sha256:", "sha512:"] : [""];
  for (const kind of kinds) readRange(db, table, kind, rangeDepth, rows);
  return rows;
}

/** Ids begin with so many digits in the narrowest ranges. */
const rangeDepth = 2;

function readRange(db: DatabaseSync, table: TableName, prefix: string, depth: number, rows: Map<string, string>): void {
  const isWhole = ["ASC", "DESC"].map((order) => readUntilError(db, table, prefix, order, rows)).every(Boolean);
  if (isWhole || depth === 0) return;
  for (const digit of "0123456789abcdef") readRange(db, table, prefix + digit, depth - 1, rows);
}

function readUntilError(
  db: DatabaseSync,
  table: TableName,
  prefix: string,
  order: string,
  rows: Map<string, string>,
): boolean {
  try {
    for (const { id, record } of db
      .prepare(`SELECT id, record FROM ${table} WHERE id >= ? AND id < ? ORDER BY id ${order}`)
      .iterate(prefix, `${prefix}~`)) {
      if (typeof id === "string" && typeof record === "string") rows.set(id, record);
    }
    return true;
  } catch (error) {
    if (!isCorruption(error)) throw error;
    return false;
  }
}
