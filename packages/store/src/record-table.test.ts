import assert from "node:assert/strict";
import { test } from "node:test";
import { openDatabase } from "./database.ts";
import { RecordTable } from "./record-table.ts";

interface Example {
  id: string;
  atNs: bigint;
}

function parse(value: unknown): Example {
  const record = value as Example;
  if (typeof record.id !== "string" || typeof record.atNs !== "bigint") throw new Error("not an example");
  return record;
}

test("records come back as they were, with bigints, and a later put replaces", () => {
  const table = new RecordTable(openDatabase(":memory:"), "pods", parse);
  table.put("a", { id: "a", atNs: 2n ** 62n });
  table.put("a", { id: "a", atNs: -1n });
  table.put("b", { id: "b", atNs: 0n });
  table.delete("b");
  assert.deepEqual([...table.readAll().records], [["a", { id: "a", atNs: -1n }]]);
});

test("a row that cannot be read is reported with its text, and costs no other", () => {
  const db = openDatabase(":memory:");
  const table = new RecordTable(db, "pods", parse);
  table.put("good", { id: "good", atNs: 1n });
  const texts = { cut: '{"id":"x', odd: '{"id":7}', other: '{"id":"good","atNs":{"$n":"1"}}' };
  for (const [id, text] of Object.entries(texts)) db.prepare("INSERT INTO pods VALUES (?, ?)").run(id, text);
  const { records, unreadable } = table.readAll();
  assert.deepEqual([...records.keys()], ["good"]);
  assert.deepEqual(Object.fromEntries(unreadable.map(({ id, text }) => [id, text])), texts);
  assert.match(unreadable.find(({ id }) => id === "other")!.reason, /it is of good/);
});

test("a row that is replaced though it cannot be read is kept as it is", () => {
  const db = openDatabase(":memory:");
  const table = new RecordTable(db, "pods", parse);
  db.exec(`INSERT INTO pods VALUES ('a', '{"id":"x')`);
  for (const row of table.readAll().unreadable) table.replaceUnreadable(row, { id: "a", atNs: 5n });
  assert.deepEqual([...table.readAll().records.values()], [{ id: "a", atNs: 5n }]);
  const [row] = db.prepare("SELECT source, id, record, reason FROM damaged").all();
  assert.deepEqual([row!["source"], row!["id"], row!["record"]], ["pods", "a", '{"id":"x']);
  assert.match(String(row!["reason"]), /JSON/);
});
