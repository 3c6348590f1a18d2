import assert from "node:assert/strict";
import { test } from "node:test";
import { timesTable } from "./times-report.ts";

test("the files that took longest come first, and all are in the sum", () => {
  const times = Array.from({ length: 30 }, (_, i) => ({ file: `${i}.test.ts`, wallMs: i * 1000, cpuMs: 500 }));
  const lines = timesTable(times).trimEnd().split("\n");
  assert.deepEqual(lines.slice(0, 3), [
    "  wall s   CPU s  file",
    "    29.0     0.5  29.test.ts",
    "    28.0     0.5  28.test.ts",
  ]);
  assert.equal(lines.at(-1), "   435.0    15.0  all 30 files");
  assert.equal(lines.length, 22);
});
