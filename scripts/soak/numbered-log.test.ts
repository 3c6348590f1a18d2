import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { NumberedLog } from "./numbered-log.ts";

/** A log file of entries such as `F line 1`, a second apart, from second `from`. */
function fileOf(t: { after(fn: () => void): void }, entries: readonly string[], from = 0): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-numbered-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const path = join(dir, "0.log");
  const lines = entries.map(
    (entry, index) => `2026-01-02T03:04:${String(from + index).padStart(2, "0")}.000000001+00:00 stdout ${entry}\n`,
  );
  writeFileSync(path, lines.join(""));
  return path;
}

test("a log that was rotated in the middle of a line is read as one", async (t) => {
  const log = new NumberedLog();
  await log.read(fileOf(t, ["F line 1", "P li", "F ne 2", "P line"]));
  assert.deepEqual([log.lines, log.hasEnded], [2, false]);
  await log.read(fileOf(t, ["F  3", "F end 3"], 10));
  assert.deepEqual([log.lines, log.hasEnded], [3, true]);
});

const wrong: Readonly<Record<string, [readonly string[], RegExp]>> = {
  "a line that is missing": [["F line 1", "F line 3"], /after line 1 comes "line 3"/],
  "a line that is there twice": [["F line 1", "F line 1"], /after line 1 comes "line 1"/],
  "an end that comes too early": [["F line 1", "F end 2"], /after line 1 comes "end 2"/],
  "a line after the end": [["F line 1", "F end 1", "F line 2"], /after the last line comes "line 2"/],
  "a line in another format": [["X line 1"], /not in the CRI.s format/],
};
for (const [name, [entries, message]] of Object.entries(wrong)) {
  test(`${name} is found`, async (t) => {
    await assert.rejects(new NumberedLog().read(fileOf(t, entries)), message);
  });
}

test("time that goes back between two files is found, and a file that ends within a line", async (t) => {
  const log = new NumberedLog();
  await log.read(fileOf(t, ["F line 1"], 30));
  await assert.rejects(log.read(fileOf(t, ["F line 2"])), /the time goes back/);
  const cut = fileOf(t, []);
  writeFileSync(cut, "2026-01-02T03:04:05.000000001+00:00 stdout F line 1");
  await assert.rejects(new NumberedLog().read(cut), /ends in the middle of a line/);
});
