import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase, RecordTable } from "./record-table.ts";

interface Example {
  name: string;
  atNs: bigint;
}

function parse(value: unknown): Example {
  const record = value as Example;
  if (typeof record.name !== "string" || typeof record.atNs !== "bigint") throw new Error("not an example");
  return record;
}

test("records come back as they were, with bigints, and a later put replaces", () => {
  const table = new RecordTable(openDatabase(":memory:"), "pods", parse);
  table.put("a", { name: "one", atNs: 2n ** 62n });
  table.put("a", { name: "two", atNs: -1n });
  table.put("b", { name: "gone", atNs: 0n });
  table.delete("b");
  assert.deepEqual([...table.readAll().records], [["a", { name: "two", atNs: -1n }]]);
});

test("a damaged record is reported by its id and costs no other record", () => {
  const db = openDatabase(":memory:");
  const table = new RecordTable(db, "pods", parse);
  table.put("good", { name: "x", atNs: 1n });
  db.exec(`INSERT INTO pods VALUES ('cut', '{"name":"x'), ('odd', '{"name":7}')`);
  const { records, damaged } = table.readAll();
  assert.deepEqual([...records.keys()], ["good"]);
  assert.deepEqual(
    damaged.map((d) => d.id),
    ["cut", "odd"],
  );
});
