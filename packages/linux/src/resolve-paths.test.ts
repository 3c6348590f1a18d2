import assert from "node:assert/strict";
import { mkdirSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { builtFile } from "./native.ts";
import { type ResolvedPath, resolvePaths } from "./resolve-paths.ts";
import { run } from "./run.ts";
import { temporaryDirectory } from "./testing/temporary-directory.ts";

const outcome = (result: ResolvedPath) =>
  "path" in result ? result.path : `${result.error.code} ${result.error.stage}`;

test("links are followed; a path that leads nowhere does not affect the others", async (t) => {
  const dir = temporaryDirectory(t);
  mkdirSync(join(dir, "a b\nc"));
  writeFileSync(join(dir, "file"), "");
  symlinkSync("a b\nc", join(dir, "link"));
  symlinkSync("loop", join(dir, "loop"));
  const results = await resolvePaths([
    join(dir, "link"),
    join(dir, "none"),
    join(dir, "loop"),
    join(dir, "file/x"),
    join(dir, "file"),
    "/",
  ]);
  assert.deepEqual(results.map(outcome), [
    join(dir, "a b\nc"),
    "ENOENT resolve",
    "ELOOP resolve",
    "ENOTDIR resolve",
    join(dir, "file"),
    "/",
  ]);
  assert.deepEqual(
    results.flatMap((result) => ("path" in result ? result.isDirectory : [])),
    [true, false, true],
  );
});

test("what is missing is made on request, with its parents", async (t) => {
  const dir = temporaryDirectory(t);
  symlinkSync("nowhere", join(dir, "dangling"));
  writeFileSync(join(dir, "file"), "");
  const paths = [join(dir, "x/y/z"), join(dir, "x"), join(dir, "dangling"), join(dir, "file/x"), "/proc/nothing/here"];
  const results = await resolvePaths(paths, 0o751);
  assert.deepEqual(results.map(outcome), [paths[0], paths[1], "ENOENT make", "ENOTDIR resolve", "ENOENT make"]);
  assert.equal(statSync(join(dir, "x/y/z")).mode & 0o777, 0o751 & ~process.umask());
});

test("thousands of long paths are answered in order", async () => {
  const paths = Array.from({ length: 2000 }, (_, i) => `/${"./".repeat(500)}${i % 2 === 0 ? "dev" : "none"}`);
  const results = await resolvePaths(paths);
  assert.deepEqual(
    results.map(outcome),
    paths.map((_, i) => (i % 2 === 0 ? "/dev" : "ENOENT resolve")),
  );
});

test("a relative path and one with a NUL are refused, and no paths need no process", async () => {
  await assert.rejects(resolvePaths(["a"]), TypeError);
  await assert.rejects(resolvePaths(["/a\0/b"]), TypeError);
  assert.deepEqual(await resolvePaths([], 0o755), []);
});

test("nothing is made of a path without its end, from a client that was killed while writing", async (t) => {
  const dir = temporaryDirectory(t);
  const { code, stdout } = await run({
    file: builtFile("resolve-paths"),
    args: ["755"],
    stdin: Buffer.from(`${dir}/whole\0${dir}/par`),
  });
  assert.deepEqual([code, stdout.toString()], [0, `0 d ${dir}/whole\0`]);
  assert.deepEqual(readdirSync(dir), ["whole"]);
});
