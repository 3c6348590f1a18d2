import assert from "node:assert/strict";
import { test } from "node:test";
import { Container } from "@keelson/cri/gen/runtime/v1/api.ts";
import { formatDocument, messageJson } from "./document.ts";
import { humanDuration, humanSize, shortId } from "./human.ts";
import { safeLines, safeText } from "./safe-text.ts";
import { formatTable } from "./table.ts";
import { goTime, rfc3339Nano } from "./time.ts";

process.env.TZ = "UTC";

test("columns are at least 20 wide and at least 3 spaces apart, and the last is not padded", () => {
  assert.equal(
    formatTable(["ID", "NAME", "STATE"], [["a", "a-name-of-19-letters", "x"]]),
    "ID                  NAME                   STATE\na                   a-name-of-19-letters   x\n",
  );
});

test("characters that control a terminal are escaped", () => {
  assert.equal(safeText("a\u001b[2Jb\r\n\tc\u0085\u202e\u007f"), "a\\x1b[2Jb\\r\\n\\tc\\x85\\u202e\\x7f");
  assert.equal(safeText("Ünïcode 名前 🐳"), "Ünïcode 名前 🐳");
  assert.equal(safeLines("one\ntwo\u0007"), "one\ntwo\\x07");
});

test("durations in go-units' words", () => {
  const cases: [number, string][] = [
    [0.4, "Less than a second"],
    [-5, "Less than a second"],
    [1, "1 second"],
    [59.9, "59 seconds"],
    [60, "About a minute"],
    [119, "About a minute"],
    [120, "2 minutes"],
    [3599, "59 minutes"],
    [3600, "About an hour"],
    [5399, "About an hour"],
    [5400, "2 hours"],
    [47 * 3600, "47 hours"],
    [48 * 3600, "2 days"],
    [14 * 86400, "2 weeks"],
    [60 * 86400, "2 months"],
    [730 * 86400, "2 years"],
  ];
  for (const [seconds, text] of cases) assert.equal(humanDuration(seconds * 1000), text, `${seconds} s`);
});

test("sizes with three digits", () => {
  const cases: [number | bigint, string][] = [
    [0, "0B"],
    [999, "999B"],
    [1000, "1kB"],
    [305662n, "306kB"],
    [1028219, "1.03MB"],
    [999_600, "1MB"],
    [12_345_678_901n, "12.3GB"],
  ];
  for (const [bytes, text] of cases) assert.equal(humanSize(bytes), text);
  assert.equal(shortId(`sha256:${"ab".repeat(32)}`), "ababababababa");
});

test("times keep their nanoseconds, without zeros at the end", () => {
  const ns = 1795230692073312143n;
  assert.equal(rfc3339Nano(ns), "2026-11-21T03:11:32.073312143Z");
  assert.equal(rfc3339Nano(1795230691947258600n), "2026-11-21T03:11:31.9472586Z");
  assert.equal(goTime(1795230691947258600n), "2026-11-21 03:11:31.9472586 +0000 UTC");
  assert.equal(rfc3339Nano(0n), "1970-01-01T00:00:00Z");
});

test("messages show default values, but no absent messages", () => {
  const json = messageJson("Container", Container.fromPartial({ id: "c", labels: { b: "2", a: "1" } }));
  assert.equal("metadata" in json, false);
  assert.equal(json["createdAt"], "0");
  assert.equal(JSON.stringify(json["labels"]), '{"a":"1","b":"2"}');
});

test("YAML sorts keys, quotes what looks like another type, and ends with an empty line", () => {
  assert.equal(formatDocument({ b: ["x", { no: "0" }], a: "yes" }, "yaml"), 'a: "yes"\nb:\n- x\n- "no": "0"\n\n');
});
