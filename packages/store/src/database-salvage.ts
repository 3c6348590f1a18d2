import { closeSync, existsSync, fsyncSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Log } from "@keelson/base/log.ts";
import { messageOf } from "@keelson/base/status.ts";
import { connect } from "./connection.ts";
import { type TableName, tableNames } from "./record-table.ts";
import { migrate, migrations, refuseNewerSchema, schemaVersion, versionOf } from "./schema-version.ts";
import { DamagedDatabaseError, isCorruption } from "./sqlite-error.ts";

/**
 * Opens the daemon's state at this build's schema version, also a database that is damaged beyond what SQLite mends by
 * itself: what can be read of that goes into a new one, and the damaged file is moved aside (`state.db.damaged-TIME`),
 * never removed. Recovery then takes down what has no record any more.
 *
 * Throws FailedPrecondition for a schema of a newer build, damaged or not, and whatever else keeps it from being
 * opened, such as a full disk: that passes, and is no reason to leave the state behind. Then nothing was changed.
 */
export function openOrSalvage(path: string, log: Log, now: () => number = Date.now): DatabaseSync {
  finishSalvage(path);
  refuseNewerSchema(path);
  try {
    return openChecked(path, log);
  } catch (error) {
    if (!isCorruption(error)) throw error;
    const time = new Date(now()).toISOString().replaceAll(":", "-");
    const aside = asidePath(path, time);
    log.error(
      { path, aside, err: error },
      `the state database is damaged (${messageOf(error)}): what can be read of it goes into a new one, and it is moved aside`,
    );
    const found = salvage(path, time);
    finishSalvage(path);
    log.error(
      { aside, ...found },
      "the new state database holds what could be read; pods, containers and images without a record are taken down or pulled again",
    );
    return openChecked(path, log);
  }
}

/** Opens and reads through the whole file: a few ms for hundreds of pods. Throws as SQLite does. */
function openChecked(path: string, log: Log): DatabaseSync {
  const db = connect(path);
  try {
    const problems = problemsOf(db);
    // A damaged header may say that nothing can be written, which only a write finds out.
    db.exec(`PRAGMA user_version=${versionOf(db)}`);
    if (problems.length > 0) throw new DamagedDatabaseError(problems.join("; "));
    const from = migrate(db);
    if (from !== schemaVersion && from > 0)
      log.info({ path, from, to: schemaVersion }, "the state database has a new schema version");
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

const asidePath = (path: string, time: string) => `${path}.damaged-${time}`;
const salvagedName = (path: string, time: string) => `${basename(path)}.salvaged-${time}`;

/**
 * Makes the new database beside the damaged one. It gets its name when it is complete and on the disk, so that a crash
 * before that costs nothing and finishSalvage knows what to do after it. Returns how many rows of each table it has.
 */
function salvage(path: string, time: string): Record<TableName, number> {
  const unfinished = `${path}.salvaging`;
  for (const suffix of ["", "-journal"]) rmSync(unfinished + suffix, { force: true });
  const { version, rows } = readDamaged(path);
  {
    using to = new DatabaseSync(unfinished);
    to.exec("PRAGMA synchronous=FULL");
    // What was read is of the version that it was written in, whatever this build would make of it.
    migrate(to, migrations.slice(0, version));
    to.exec("BEGIN");
    for (const [table, records] of rows) {
      const insert = to.prepare(`INSERT INTO ${table} (id, record) VALUES (?, ?)`);
      for (const [id, record] of records) insert.run(id, record);
    }
    to.exec("COMMIT");
  }
  renameSync(unfinished, join(dirname(path), salvagedName(path, time)));
  syncDirectory(dirname(path));
  const count = (table: TableName) => rows.get(table)?.size ?? 0;
  return { pods: count("pods"), containers: count("containers"), images: count("images"), layers: count("layers") };
}

/** Moves a damaged database aside, with its log, so that it can be opened there, and the salvaged one into its place; again after a crash in the middle. */
function finishSalvage(path: string): void {
  const dir = dirname(path);
  const prefix = salvagedName(path, "");
  const salvaged = existsSync(dir) ? readdirSync(dir).find((name) => name.startsWith(prefix)) : undefined;
  if (salvaged === undefined) return;
  const aside = asidePath(path, salvaged.slice(prefix.length));
  for (const suffix of ["-wal", "-shm", ""]) if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix);
  renameSync(join(dir, salvaged), path);
  syncDirectory(dir);
}

function syncDirectory(dir: string): void {
  const fd = openSync(dir, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

interface ReadableRows {
  readonly version: number;
  /** The text of each record, by table and id. */
  readonly rows: ReadonlyMap<TableName, ReadonlyMap<string, string>>;
}

/** What can be read of a damaged database. Where its schema version cannot be, its rows are taken for this build's: one that is not is unreadable, and kept. */
function readDamaged(path: string): ReadableRows {
  const rows = new Map<TableName, ReadonlyMap<string, string>>();
  let version = schemaVersion;
  try {
    using from = new DatabaseSync(path, { readOnly: true });
    version = versionIfReadable(from);
    for (const table of tableNames.filter((name) => hasTable(from, name))) rows.set(table, readableRows(from, table));
  } catch (error) {
    // Not even its first page makes sense.
    if (!isCorruption(error)) throw error;
  }
  return { version, rows };
}

function versionIfReadable(db: DatabaseSync): number {
  try {
    return Math.max(1, versionOf(db));
  } catch (error) {
    if (!isCorruption(error)) throw error;
    return schemaVersion;
  }
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
