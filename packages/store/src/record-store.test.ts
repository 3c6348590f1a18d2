import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { openDatabase } from "./database.ts";
import { RecordStore } from "./record-store.ts";
import { RecordTable } from "./record-table.ts";

interface Example {
  id: string;
  name: string;
  count: number;
}

const never = new AbortController().signal;

function newStore() {
  const table = new RecordTable(openDatabase(":memory:"), "pods", (v) => v as Example);
  return { table, store: new RecordStore(table, "pod sandbox", []) };
}

function hasCode(code: number) {
  return (e: unknown) => e instanceof StatusError && e.code === code;
}

test("a name is unique until its record is gone", () => {
  const { store } = newStore();
  store.insert({ id: "aa", name: "web", count: 0 });
  assert.throws(() => store.insert({ id: "bb", name: "web", count: 0 }), hasCode(Code.AlreadyExists));
  store.delete("aa");
  store.insert({ id: "bb", name: "web", count: 0 });
  assert.equal(store.byName("web")?.id, "bb");
});

test("ids may be shortened as long as they are unique; the empty id is nobody's", () => {
  const { store } = newStore();
  store.insert({ id: "abc1", name: "1", count: 0 });
  store.insert({ id: "abd2", name: "2", count: 0 });
  assert.equal(store.find("abc")?.id, "abc1");
  assert.throws(() => store.find("ab"), hasCode(Code.InvalidArgument));
  assert.equal(store.find("x"), undefined);
  assert.throws(() => store.require("x"), hasCode(Code.NotFound));
  assert.equal(store.find(""), undefined);
});

test("a list that was handed out does not change, and what is written is on disk", () => {
  const { store, table } = newStore();
  store.insert({ id: "a", name: "a", count: 0 });
  const before = store.all();
  store.update("a", (r) => ({ ...r, count: 1 }));
  assert.equal(before[0]?.count, 0);
  assert.equal(store.all()[0]?.count, 1);
  assert.equal(table.readAll().records.get("a")?.count, 1);
  assert.throws(() => store.update("gone", (r) => r), hasCode(Code.NotFound));
});

test("a change that throws changes nothing", () => {
  const { store, table } = newStore();
  store.insert({ id: "a", name: "a", count: 0 });
  assert.throws(() =>
    store.update("a", () => {
      throw new Error("illegal");
    }),
  );
  assert.equal(store.get("a")?.count, 0);
  assert.equal(table.readAll().records.get("a")?.count, 0);
});

test("until wakes at the change that matters, at removal, and when the caller gives up", async () => {
  const { store } = newStore();
  store.insert({ id: "a", name: "a", count: 0 });
  const reached = store.until("a", (r) => r.count === 2, never);
  const removed = store.until("a", (r) => r.count === 3, never);
  const abort = new AbortController();
  const abandoned = store.until("a", (r) => r.count === 4, abort.signal);
  abort.abort(new Error("gave up"));
  await assert.rejects(abandoned, /gave up/);
  store.update("a", (r) => ({ ...r, count: 1 }));
  store.update("a", (r) => ({ ...r, count: 2 }));
  assert.equal((await reached)?.count, 2);
  store.delete("a");
  assert.equal(await removed, undefined);
});

test("a row that cannot be read has a stand-in, which is found and changed in memory, while the row stays as it is", () => {
  const db = openDatabase(":memory:");
  db.exec(`INSERT INTO pods VALUES ('ro', '{"id":"row1"'), ('row2', '{')`);
  const table = new RecordTable(db, "pods", (value) => value as Example);
  const standIns = [
    { rowId: "ro", record: { id: "row1", name: "web", count: 0 } },
    { rowId: "row2", record: { id: "row2", name: "", count: 0 } },
  ];
  const store = new RecordStore(table, "pod sandbox", [], standIns);
  assert.deepEqual(
    store.all().map(({ id }) => id),
    ["row1", "row2"],
  );
  assert.throws(() => store.insert({ id: "bb", name: "web", count: 0 }), hasCode(Code.AlreadyExists));
  const changes: unknown[] = [];
  using _ = store.subscribe((before, after) => void changes.push([before?.count, after?.count]));
  store.update("row1", (r) => ({ ...r, count: 5 }));
  assert.equal(store.byName("web")?.count, 5);
  const rows = () => db.prepare("SELECT id, record FROM pods ORDER BY id").all();
  assert.deepEqual(
    rows().map(({ id, record }) => [id, record]),
    [
      ["ro", '{"id":"row1"'],
      ["row2", "{"],
    ],
  );
  store.delete("row1");
  store.delete("row2");
  assert.deepEqual(rows(), []);
  assert.deepEqual(changes, [
    [0, 5],
    [5, undefined],
    [0, undefined],
  ]);
  store.insert({ id: "bb", name: "web", count: 0 });
  assert.equal(store.update("bb", (r) => ({ ...r, count: 1 })).count, table.readAll().records.get("bb")?.count);
});

test("a stand-in takes neither the id nor the name of a record that can be read", () => {
  const db = openDatabase(":memory:");
  const table = new RecordTable(db, "pods", (value) => value as Example);
  table.put("aa", { id: "aa", name: "web", count: 1 });
  const standIns = [
    { rowId: "ab", record: { id: "aa", name: "other", count: 0 } },
    { rowId: "cc", record: { id: "cc", name: "web", count: 0 } },
  ];
  const store = new RecordStore(table, "pod sandbox", table.readAll().records.values(), standIns);
  assert.deepEqual([store.get("aa")?.count, store.byName("web")?.id], [1, "aa"]);
  store.delete("cc");
  assert.equal(store.byName("web")?.id, "aa");
});
