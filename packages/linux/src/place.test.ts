import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { waitFor } from "@keelson/testkit/wait.ts";
import { findPlaces } from "./place.ts";
import { temporaryDirectory } from "./testing/temporary-directory.ts";

const codeOf = (code: string) => (error: unknown) => (error as NodeJS.ErrnoException).code === code;

test("a path is placed as a process in the root would see it, with what is nearest above one that leads nowhere", async (t) => {
  const dir = temporaryDirectory(t);
  const root = join(dir, "root");
  mkdirSync(join(root, "etc"), { recursive: true });
  writeFileSync(join(root, "etc/passwd"), "");
  symlinkSync("/etc", join(root, "settings"));
  symlinkSync("../../../etc/passwd", join(root, "etc/users"));
  symlinkSync("/nowhere", join(root, "dangling"));
  symlinkSync("loop", join(root, "loop"));
  symlinkSync(dir, join(root, "out"));
  const place = async (path: string) => {
    const [found] = await findPlaces(root, [path]);
    return found && [found.isAbove ? "above" : "at", found.isDirectory ? "dir" : "file", found.path].join(" ");
  };
  assert.equal(await place("/etc"), "at dir /etc");
  assert.equal(await place("/settings//passwd"), "at file /etc/passwd");
  assert.equal(await place("/etc/users"), "at file /etc/passwd");
  assert.equal(await place("/settings/x/y"), "above dir /etc");
  assert.equal(await place("/etc/passwd/x"), "above file /etc/passwd");
  assert.equal(await place("/etc/../../etc/"), "at dir /etc");
  assert.equal(await place("/"), "at dir /");
  assert.equal(await place("/x/y"), undefined);
  assert.equal(await place("/dangling"), undefined);
  assert.equal(await place("/out"), undefined, "an absolute link stays in the root");
  await assert.rejects(place("/loop"), codeOf("ELOOP"));
  assert.equal(await place("/settings"), "at dir /etc");
  const many = await findPlaces(root, ["/etc", "/x/y", "/etc/users"]);
  assert.deepEqual(
    many.map((found) => found?.path),
    ["/etc", undefined, "/etc/passwd"],
  );
  assert.deepEqual(await findPlaces("/", [join(root, "settings/x")]), [
    { path: "/etc", isDirectory: true, isAbove: true },
  ]);
  assert.deepEqual(await findPlaces(root, []), []);
  await assert.rejects(findPlaces(join(dir, "none"), ["/etc"]), codeOf("ENOENT"));
});

test("renames elsewhere on the machine, which make the kernel unsure of a .., are no error", async (t) => {
  const root = temporaryDirectory(t);
  mkdirSync(join(root, "etc"));
  writeFileSync(join(root, "etc/passwd"), "");
  symlinkSync("../etc/../etc/../etc/passwd", join(root, "etc/users"));
  const other = temporaryDirectory(t);
  const script = "fs.writeFileSync('a', ''); for (;;) { fs.renameSync('a', 'b'); fs.renameSync('b', 'a'); }";
  const renaming = spawn(process.execPath, ["-e", script], { cwd: other, stdio: "ignore" });
  t.after(() => renaming.kill("SIGKILL"));
  await waitFor(() => existsSync(join(other, "a")) || existsSync(join(other, "b")));
  const paths = Array.from({ length: 1000 }, () => "/etc/users");
  for (let i = 0; i < 20; i += 1) {
    const places = await findPlaces(root, paths);
    assert.ok(places.every((place) => place?.path === "/etc/passwd"));
  }
});
