import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { Code, StatusError } from "@keelson/base/status.ts";
import { version as build } from "@keelson/base/version.ts";
import { openReadOnly } from "./connection.ts";
import { makeRecordTables } from "./migrations/1-record-tables.ts";
import { makeAllTables } from "./migrations/2-all-tables.ts";
import { DamagedDatabaseError, sqliteCode } from "./sqlite-error.ts";

/**
 * Takes a database from one schema version to the next. A row that it cannot read stays as it is, and it may find its
 * work done already: keelsond 0.1.0 knows no versions, works with what a newer build has made, and writes version 1.
 * Whatever it needs is in its own file, so that later changes of other code do not change what it does.
 */
export type Migration = (db: DatabaseSync) => void;

/** In order: the first makes version 1 of an empty database. One that was released is never changed. */
export const migrations: readonly Migration[] = [makeRecordTables, makeAllTables];

/** The schema version that this build reads and writes. */
export const schemaVersion = migrations.length;

/** No build will ever write a higher one: such a number is damage. */
const highestVersion = 10_000;

/**
 * Throws FailedPrecondition when the database at a path has a newer schema than this build knows, whose records it
 * might misread. Changes nothing, not even SQLite's files beside it. A database that is missing, damaged or out of
 * reach passes: openOrSalvage deals with those.
 */
export function refuseNewerSchema(path: string): void {
  if (!existsSync(path)) return;
  let version: number;
  try {
    using db = openReadOnly(path);
    version = versionOf(db);
  } catch (error) {
    if (error instanceof DamagedDatabaseError || sqliteCode(error) !== undefined) return;
    throw error;
  }
  refuseNewer(version, path, schemaVersion);
}

/**
 * Brings a database to this build's schema version, in one transaction: a crash at any point leaves the old version or
 * the new one. Returns the version that it had. Throws FailedPrecondition when that is newer, and DamagedDatabaseError
 * when it cannot be one.
 *
 * @param steps up to which version; tests have steps of their own.
 */
export function migrate(db: DatabaseSync, steps: readonly Migration[] = migrations): number {
  const version = versionOf(db);
  refuseNewer(version, db.location() ?? "in memory", steps.length);
  if (version === steps.length) return version;
  db.exec("BEGIN IMMEDIATE");
  try {
    for (const step of steps.slice(version)) step(db);
    db.exec(`PRAGMA user_version=${steps.length}; COMMIT`);
    return version;
  } catch (error) {
    // SQLite has rolled back already after some errors, such as a full disk.
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}

/** The schema version of a database; 0 when it has none yet. Throws DamagedDatabaseError when the number cannot be one. */
export function versionOf(db: DatabaseSync): number {
  const version = Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
  if (version >= 0 && version <= highestVersion) return version;
  throw new DamagedDatabaseError(`its schema version is ${version}`);
}

function refuseNewer(version: number, path: string, known: number): void {
  if (version <= known) return;
  throw new StatusError(
    Code.FailedPrecondition,
    `state database ${path}: a newer keelsond has given it schema version ${version}, and this one (${build}) knows versions up to ${known}. Nothing was changed, and containers go on running: start the newer keelsond again, or drain the node and remove the file, which removes its pods and images; see docs/upgrading.md`,
  );
}
