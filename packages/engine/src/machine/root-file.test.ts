import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { readRootFile } from "./root-file.ts";

function makeRoot(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-root-"));
  t.after(() => rmSync(dir, { recursive: true }));
  mkdirSync(join(dir, "root/etc"), { recursive: true });
  mkdirSync(join(dir, "root/usr/lib"), { recursive: true });
  writeFileSync(join(dir, "root/usr/lib/passwd"), "image");
  writeFileSync(join(dir, "secret"), "host");
  return join(dir, "root");
}

test("links are followed inside the root, absolute ones from its top", (t) => {
  const root = makeRoot(t);
  symlinkSync("/usr/lib/passwd", join(root, "etc/passwd"));
  symlinkSync("../usr/lib/passwd", join(root, "etc/group"));
  symlinkSync("/usr", join(root, "link"));
  assert.equal(readRootFile(root, "/etc/passwd", 100), "image");
  assert.equal(readRootFile(root, "/etc/group", 100), "image");
  assert.equal(readRootFile(root, "/link/lib/passwd", 100), "image");
  assert.equal(readRootFile(root, "/etc/shadow", 100), undefined);
});

test("no link and no .. leads out of the root", (t) => {
  const root = makeRoot(t);
  symlinkSync("../../secret", join(root, "etc/a"));
  symlinkSync(join(root, "../secret"), join(root, "etc/b"));
  assert.equal(readRootFile(root, "/etc/a", 100), undefined);
  assert.equal(readRootFile(root, "/etc/b", 100), undefined);
  assert.equal(readRootFile(root, "/../secret", 100), undefined);
});

test("loops, large files, directories and FIFOs are refused at once", (t) => {
  const root = makeRoot(t);
  symlinkSync("loop", join(root, "etc/loop"));
  execFileSync("mkfifo", [join(root, "etc/fifo")]);
  assert.throws(() => readRootFile(root, "/etc/loop", 100), /more than 40 links/);
  assert.throws(() => readRootFile(root, "/usr/lib/passwd", 4), /has 5 bytes; at most 4/);
  assert.throws(() => readRootFile(root, "/usr/lib", 100), /not a regular file/);
  assert.throws(() => readRootFile(root, "/etc/fifo", 100), /not a regular file/);
});
