import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { makeDirectories } from "./make-directories.ts";

test("it makes what is missing, leaves what exists, and follows links", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-mkdir-"));
  t.after(() => rmSync(dir, { recursive: true }));
  makeDirectories(join(dir, "a/b/c"), 0o750);
  makeDirectories(join(dir, "a/b/c"), 0o700);
  makeDirectories(`${dir}//a/./b/../d/`, 0o700);
  assert.equal(statSync(join(dir, "a/b/c")).mode & 0o777, 0o750);
  assert.ok(statSync(join(dir, "a/d")).isDirectory());
  symlinkSync("a", join(dir, "link"));
  makeDirectories(join(dir, "link/e"), 0o700);
  assert.ok(statSync(join(dir, "a/e")).isDirectory());
  writeFileSync(join(dir, "file"), "");
  assert.throws(() => makeDirectories(join(dir, "file/x"), 0o700), { code: "ENOTDIR" });
});

test("it gives up where nothing can be made", () => {
  assert.throws(() => makeDirectories("/proc/self/nothing/here", 0o700), { code: "ENOENT" });
});
