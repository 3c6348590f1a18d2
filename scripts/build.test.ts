import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

test("what ships starts from wherever it was copied to", (t) => {
  const out = mkdtempSync(join(tmpdir(), "keelson-build-"));
  t.after(() => rmSync(out, { recursive: true }));
  const run = (file: string, ...args: string[]) => execFileSync(file, args, { encoding: "utf8", cwd: "/" });
  run(process.execPath, join(import.meta.dirname, "build.mjs"), out);
  for (const program of ["keelsond", "keelctl"]) assert.match(run(join(out, "bin", program), "--version"), /0\.1\.0/);
  assert.match(run(join(out, "bin/keelsond"), "config", "default"), /^\[images\]/m);
});
