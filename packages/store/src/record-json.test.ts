import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRecordText, recordText, wholeMembers } from "./record-json.ts";

const record = {
  id: "ab",
  name: 'with "quotes", a \\ and {braces}',
  atNs: 2n ** 62n,
  pid: 4194,
  list: [{ a: "]" }, []],
  state: { is: "x" },
};

test("a record survives the way through its text, with bigints", () => {
  assert.deepEqual(parseRecordText(recordText(record)), record);
});

test("of a record that is cut off anywhere, the members before the cut can be read", () => {
  const text = recordText(record);
  const keys = Object.keys(record);
  let latest = 0;
  for (let end = 0; end <= text.length; end += 1) {
    const found = wholeMembers(text.slice(0, end));
    const count = Object.keys(found).length;
    assert.ok(count >= latest, `${end} bytes give ${count} members, fewer gave ${latest}`);
    assert.deepEqual(found, Object.fromEntries(Object.entries(record).slice(0, count)), text.slice(0, end));
    latest = count;
  }
  assert.equal(latest, keys.length);
});

test("of a record with a damaged byte, the members before it can be read, and none of them is made up", () => {
  const text = recordText(record);
  const nameEnds = text.indexOf('"atNs"');
  for (let at = nameEnds; at < text.length; at += 1) {
    const found = wholeMembers(`${text.slice(0, at)}\u0000${text.slice(at + 1)}`);
    assert.deepEqual([found["id"], found["name"]], [record.id, record.name], `byte ${at}`);
  }
});

test("what is no object has no members, and none becomes a prototype", () => {
  for (const text of ["", "null", "[1,2]", '"text"', "x{}", "{", "}{"]) assert.deepEqual(wholeMembers(text), {}, text);
  const odd = wholeMembers('{"__proto__":{"id":"x"},"a":1,');
  assert.equal(odd["id"], undefined);
  assert.deepEqual(Object.keys(odd), ["__proto__", "a"]);
});

test("a long text full of commas is read in time", () => {
  const text = `{"id":"ab","x":"${"\\,".repeat(10)}${",".repeat(2_000_000)}`;
  assert.deepEqual(Object.keys(wholeMembers(text)), ["id"]);
  assert.deepEqual(Object.keys(wholeMembers(`{"id":"ab",${",".repeat(2_000_000)}`)), ["id"]);
});
