import assert from "node:assert/strict";
import { test } from "node:test";
import { formatBytes } from "./format-bytes.ts";

test("sizes are formatted for people", () => {
  assert.deepEqual([0, 1023, 1024, 15_728_640, 1_610_612_736, 2 ** 60].map(formatBytes), [
    "0 bytes",
    "1023 bytes",
    "1 KiB",
    "15 MiB",
    "1.5 GiB",
    "1024 PiB",
  ]);
});
