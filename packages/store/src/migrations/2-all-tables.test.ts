import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { makeRecordTables } from "./1-record-tables.ts";
import { makeAllTables } from "./2-all-tables.ts";

const tablesIn = (db: DatabaseSync) =>
  db
    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
    .all()
    .map(({ name }) => name);

test("whichever tables keelsond 0.1.0 came to make, all are there, and what they hold stays", () => {
  for (const earlier of [[], ["pods"], ["pods", "containers", "images", "layers"]]) {
    using db = new DatabaseSync(":memory:");
    makeRecordTables(db);
    for (const table of ["pods", "containers", "images", "layers"])
      if (!earlier.includes(table)) db.exec(`DROP TABLE ${table}`);
    for (const table of earlier) db.exec(`INSERT INTO ${table} VALUES ('a', '{}')`);
    makeAllTables(db);
    assert.deepEqual(tablesIn(db), ["containers", "damaged", "images", "layers", "pods"]);
    for (const table of earlier) assert.equal(db.prepare(`SELECT id FROM ${table}`).all().length, 1);
  }
});

test("rows that keelsond 0.1.0 set aside stay", () => {
  using db = new DatabaseSync(":memory:");
  makeAllTables(db);
  db.exec("INSERT INTO damaged VALUES ('pods', 'a', '{', 'cut off', 1)");
  makeAllTables(db);
  assert.equal(db.prepare("SELECT id FROM damaged").all().length, 1);
});
