import type { DatabaseSync } from "node:sqlite";

/** Version 1, that of keelsond 0.1.0: a table for each kind of record, each record a JSON document. */
export function makeRecordTables(db: DatabaseSync): void {
  for (const table of ["pods", "containers", "images", "layers"])
    db.exec(`CREATE TABLE IF NOT EXISTS ${table} (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID, STRICT`);
}
