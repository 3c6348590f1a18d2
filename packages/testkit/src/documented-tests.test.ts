import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

const packages = join(import.meta.dirname, "../..");

test("docs/reliability.md names tests that exist", () => {
  const text = readFileSync(join(packages, "../docs/reliability.md"), "utf8");
  const named = [...text.matchAll(/`([^` ]*\/[^` ]*\.test\.ts)`/g)].map(([, path]) => path!);
  assert.ok(named.length > 30);
  const isMissing = (path: string) =>
    [join(packages, "daemon/host-tests"), packages].every((cwd) => globSync(path, { cwd }).length === 0);
  assert.deepEqual(named.filter(isMissing), []);
});
