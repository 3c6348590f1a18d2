import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { makeRecordTables } from "./1-record-tables.ts";

test("an empty database gets the tables of keelsond 0.1.0, letter by letter", () => {
  using db = new DatabaseSync(":memory:");
  makeRecordTables(db);
  assert.deepEqual(
    db
      .prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' ORDER BY name")
      .all()
      .map(({ sql }) => sql),
    ["containers", "images", "layers", "pods"].map(
      (name) => `CREATE TABLE ${name} (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID, STRICT`,
    ),
  );
});
