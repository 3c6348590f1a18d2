import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { isBehindDanglingLink, makeTargetBehindLinks } from "./mount-target.ts";

function makeRoot(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-target-"));
  t.after(() => rmSync(dir, { recursive: true }));
  for (const path of ["root/var/lib", "root/etc"]) mkdirSync(join(dir, path), { recursive: true });
  writeFileSync(join(dir, "root/etc/passwd"), "");
  return join(dir, "root");
}

/** The user who runs the tests. */
const owner = { uid: process.getuid!(), gid: process.getgid!() };

test("only what is behind a dangling link needs to be made", (t) => {
  const root = makeRoot(t);
  symlinkSync("/data/spool", join(root, "var/spool"));
  symlinkSync("/var/lib", join(root, "lib"));
  for (const path of ["/var/lib", "/var/lib/new/deep", "/new", "/lib/new", "/etc/passwd/x"])
    assert.equal(isBehindDanglingLink(root, path), false, path);
  for (const path of ["/var/spool", "/var/spool/a/b"]) assert.equal(isBehindDanglingLink(root, path), true, path);
});

for (const [link, target, destination, made] of [
  ["var/spool", "/data/spool", "/var/spool", "data/spool"],
  ["var/spool", "/data/spool", "/var/spool/a/b", "data/spool/a/b"],
  ["var/spool", "lib/./x/../y", "/var/spool/z", "var/lib/y/z"],
  ["var/spool", "../../../../../../out/side", "/var/spool/z", "out/side/z"],
] as const) {
  for (const isDirectory of [true, false]) {
    test(`${destination} with ${link} -> ${target} is made ${isDirectory ? "as a directory" : "as a file"}, inside the root`, (t) => {
      const root = makeRoot(t);
      symlinkSync(target, join(root, link));
      makeTargetBehindLinks(root, destination, isDirectory, owner);
      assert.equal(statSync(join(root, made)).isDirectory(), isDirectory);
      assert.equal(isBehindDanglingLink(root, destination), false);
      assert.deepEqual(readdirSync(join(root, "..")), ["root"]);
    });
  }
}

test("links to dangling links are followed to the end", (t) => {
  const root = makeRoot(t);
  symlinkSync("/a/b", join(root, "one"));
  symlinkSync("/two/c", join(root, "a"));
  symlinkSync("var/lib/two", join(root, "two"));
  makeTargetBehindLinks(root, "/one/d", true, owner);
  assert.ok(existsSync(join(root, "var/lib/two/c/b/d")));
});

test("loops, and files in the way, are refused", (t) => {
  const root = makeRoot(t);
  symlinkSync("loop/x", join(root, "loop"));
  symlinkSync("/etc/passwd/x", join(root, "below-file"));
  assert.throws(() => isBehindDanglingLink(root, "/loop/y"), /more than 40 links/);
  assert.throws(() => makeTargetBehindLinks(root, "/below-file/y", true, owner), /ENOTDIR/);
});
