import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { maxPieceBytes } from "./entries.ts";
import { lastEntryNs } from "./log-file.ts";

const entry = (fraction: string, text = "x", stream = "stdout") =>
  `2026-01-02T03:04:05.${fraction}Z ${stream} P ${text}\n`;
const secondNs = BigInt(Date.UTC(2026, 0, 2, 3, 4, 5)) * 1_000_000n;

test("the last time of a log is that of its last whole entry, whatever else is in it", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-log-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "0.log");
  const longest = "x".repeat(maxPieceBytes);
  const cases: [content: string, lastNs: bigint | undefined][] = [
    ["", undefined],
    ["\n\n", undefined],
    [entry("000000007"), secondNs + 7n],
    [entry("000000007") + entry("999999999", "", "stderr"), secondNs + 999_999_999n],
    [entry("000000007").repeat(10_000) + entry("000000008", longest), secondNs + 8n],
    [entry("000000007") + entry("000000008").slice(0, -1), secondNs + 7n],
    [`${entry("000000007")}2026-13-02T03:04:05.000000008Z stdout F x\n`, secondNs + 7n],
    [`${entry("000000007")}2026-01-02T03:04:05.000000008Z other F x\n`, secondNs + 7n],
    [entry("000000007").slice(1), undefined],
    ["\0".repeat(200_000), undefined],
  ];
  for (const [content, lastNs] of cases) {
    writeFileSync(path, content);
    assert.equal(lastEntryNs(path), lastNs, content.slice(-80));
  }
});

test("what is no regular file, or does not exist, has none", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-log-"));
  t.after(() => rmSync(dir, { recursive: true }));
  execFileSync("mkfifo", [join(dir, "fifo")]);
  for (const path of [dir, join(dir, "fifo"), join(dir, "missing"), join(dir, "missing/0.log")])
    assert.equal(lastEntryNs(path), undefined, path);
});
