import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { checkMountKinds } from "./mount-kinds.ts";

/** Why a directory or file cannot be mounted at a place in an image; undefined when it can. */
function problemIn(t: TestContext) {
  const root = mkdtempSync(join(tmpdir(), "keelson-kinds-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const dir of ["etc", "var/lib"]) mkdirSync(join(root, dir), { recursive: true });
  writeFileSync(join(root, "etc/passwd"), "");
  symlinkSync("/etc/passwd", join(root, "var/users"));
  symlinkSync("/etc", join(root, "settings"));
  return (destination: string, isDirectory: boolean, others: readonly string[] = []): string | undefined => {
    try {
      checkMountKinds(root, [{ destination, isDirectory, what: "/srv/x" }], [...others, destination]);
      return undefined;
    } catch (error) {
      assert.ok(error instanceof StatusError && error.code === Code.InvalidArgument, String(error));
      return error.message;
    }
  };
}

test("directories go over directories, files over files, and either where the image has nothing", (t) => {
  const problem = problemIn(t);
  for (const [destination, isDirectory] of [
    ["/etc", true],
    ["/settings", true],
    ["/etc/passwd", false],
    ["/var/users", false],
    ["/new/dir", true],
    ["/etc/new", false],
  ] as const)
    assert.equal(problem(destination, isDirectory), undefined, destination);
});

test("a directory over a file, a file over a directory, and anything below a file are refused, also through links", (t) => {
  const problem = problemIn(t);
  for (const destination of ["/etc/passwd", "/var/users", "/settings/passwd"])
    assert.match(
      problem(destination, true) ?? "",
      new RegExp(`^mount at "${destination}" in the container: /srv/x is a directory, and the image has a file there`),
    );
  for (const destination of ["/etc", "/settings", "/var/lib"])
    assert.match(problem(destination, false) ?? "", /: \/srv\/x is a file, and the image has a directory there/);
  for (const isDirectory of [true, false])
    assert.match(problem("/var/users/a/b", isDirectory) ?? "", /the image has a file at "\/etc\/passwd", and nothing/);
});

test("what another mount covers is left to the runtime", (t) => {
  const problem = problemIn(t);
  assert.equal(problem("/etc/passwd", true, ["/etc"]), undefined);
  assert.equal(problem("/etc/passwd", true, ["/settings"]), undefined, "through a link");
  assert.equal(problem("/etc/passwd/x", true, ["/etc/passwd"]), undefined);
  assert.equal(problem("/etc/passwd", true, ["/var/users"]), undefined, "at the same place through a link");
  assert.notEqual(problem("/etc/passwd", true, ["/et", "/etc/passwd2", "/"]), undefined);
});
