import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { version } from "./version.ts";

test("keelsond's version is that of the package", () => {
  const { version: packaged } = JSON.parse(
    readFileSync(join(import.meta.dirname, "../../../package.json"), "utf8"),
  ) as { version: string };
  assert.equal(version, packaged);
});
