import type { DatabaseSync } from "node:sqlite";
import { makeRecordTables } from "./1-record-tables.ts";

/**
 * Version 2: every table is made here. keelsond 0.1.0 wrote its version before it made the tables of records, and made
 * `damaged`, which keeps rows that were replaced though they could not be read, when it first needed it: any of them
 * may be missing.
 */
export function makeAllTables(db: DatabaseSync): void {
  makeRecordTables(db);
  db.exec(
    "CREATE TABLE IF NOT EXISTS damaged (source TEXT NOT NULL, id TEXT NOT NULL, record ANY, reason TEXT NOT NULL, atMs INTEGER NOT NULL) STRICT",
  );
}
