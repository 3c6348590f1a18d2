import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import * as fc from "fast-check";
import { checkHostPath, cleanPath, containerPath, isAtOrBelow, pathDepth } from "./clean-path.ts";

test("paths are cleaned as text and never leave the root", () => {
  for (const [path, clean] of [
    ["/a//b/./c/", "/a/b/c"],
    ["a/b", "/a/b"],
    ["/a/../../b", "/b"],
    ["..", "/"],
    ["", "/"],
    ["/", "/"],
    ["/a/b/..", "/a"],
  ]) {
    assert.equal(cleanPath(path!), clean);
  }
});

test("cleaning any text gives an absolute path without dots, and cleaning twice changes nothing", () => {
  const piece = fc.constantFrom("..", ".", "", "a", "b c", "\n", "…");
  fc.assert(
    fc.property(
      fc.array(piece).map((parts) => parts.join("/")),
      (path) => {
        const clean = cleanPath(path);
        assert.ok(clean.startsWith("/"));
        assert.ok(
          !clean
            .split("/")
            .slice(1)
            .some((part) => part === ".." || part === "."),
        );
        assert.equal(cleanPath(clean), clean);
      },
    ),
  );
});

test("'below' compares directories, not text", () => {
  assert.ok(isAtOrBelow("/dev/pts", "/dev"));
  assert.ok(isAtOrBelow("/dev", "/dev"));
  assert.ok(!isAtOrBelow("/devices", "/dev"));
  assert.ok(isAtOrBelow("/x", "/"));
  assert.deepEqual(["/", "/a", "/a/b"].map(pathDepth), [0, 1, 2]);
});

test("host paths must be absolute; host and container paths must have no NUL and be within PATH_MAX", () => {
  for (const path of ["", "a", "/a\0", `/${"x".repeat(4096)}`])
    assert.throws(() => checkHostPath("mounts[0].host_path", path), {
      code: Code.InvalidArgument,
      message: /^mounts\[0\]\.host_path/,
    });
  assert.throws(() => containerPath("f", "/a\0"), { code: Code.InvalidArgument });
  checkHostPath("f", "/a/../b");
});
