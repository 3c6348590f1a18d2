import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");

// Its example is run in shim.host.test.ts.
test("the README names every module", () => {
  const modules = globSync("*.ts", { cwd: import.meta.dirname }).filter((name) => !name.endsWith(".test.ts"));
  assert.deepEqual(
    modules.filter((name) => !readme.includes(`\`${name}\``)),
    [],
  );
});
