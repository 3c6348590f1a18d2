import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { RecordStore } from "./record-store.ts";
import { openDatabase, RecordTable } from "./record-table.ts";

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
