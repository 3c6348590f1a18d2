import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { runtimeBinary, withoutRuntime } from "./runtime-binary.ts";

test("a runtime is found in PATH; for a missing one there is a reason", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-runtime-binary-"));
  const path = process.env["PATH"];
  t.after(() => {
    process.env["PATH"] = path;
    rmSync(dir, { recursive: true });
  });
  process.env["PATH"] = `${dir}:${path}`;
  writeFileSync(join(dir, "runtime-of-the-test"), "");
  assert.equal(runtimeBinary("runtime-of-the-test"), undefined, "not executable");
  assert.equal(
    withoutRuntime("runtime-of-the-test"),
    "there is no runtime-of-the-test on this machine: `npm run setup` installs it",
  );
  writeFileSync(join(dir, "another-of-the-test"), "", { mode: 0o755 });
  assert.equal(runtimeBinary("another-of-the-test"), join(dir, "another-of-the-test"));
  assert.equal(withoutRuntime("another-of-the-test"), false);
});
