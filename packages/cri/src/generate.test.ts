import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

test("the committed code is what proto/ generates", (t) => {
  const out = mkdtempSync(join(tmpdir(), "keelson-gen-"));
  t.after(() => rmSync(out, { recursive: true }));
  execFileSync(process.execPath, [join(import.meta.dirname, "../scripts/generate.ts"), "--out", out]);
  for (const file of ["runtime/v1/api.ts", "descriptor.ts"]) {
    const committed = readFileSync(join(import.meta.dirname, "gen", file), "utf8");
    assert.ok(
      readFileSync(join(out, file), "utf8") === committed,
      `src/gen/${file} is stale: run \`npm run generate\``,
    );
  }
});
