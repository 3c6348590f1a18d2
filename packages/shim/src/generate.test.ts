import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

test("what is committed is what proto/ generates", (t) => {
  const out = mkdtempSync(join(tmpdir(), "keelson-gen-"));
  t.after(() => rmSync(out, { recursive: true }));
  execFileSync(process.execPath, [join(import.meta.dirname, "../scripts/generate.ts"), "--out", out]);
  const committed = join(import.meta.dirname, "gen");
  const files = globSync("**/*.ts", { cwd: out });
  assert.deepEqual(globSync("**/*.ts", { cwd: committed }).sort(), files.sort());
  for (const file of files) {
    assert.ok(
      readFileSync(join(out, file), "utf8") === readFileSync(join(committed, file), "utf8"),
      `src/gen/${file} is stale: run \`npm run generate\``,
    );
  }
});
