import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { BeneathLooker } from "./look-beneath.ts";
import { temporaryDirectory } from "./testing/temporary-directory.ts";

function newLooker(t: TestContext, signal = new AbortController().signal) {
  const looker = new BeneathLooker(signal);
  t.after(() => looker[Symbol.dispose]());
  return looker;
}

const codeOf = (code: string) => (error: unknown) => (error as NodeJS.ErrnoException).code === code;

test("files, directories and links are seen as they are, and a file's bytes are read", async (t) => {
  const root = temporaryDirectory(t);
  mkdirSync(join(root, "dir"));
  writeFileSync(join(root, "dir/a b\nc"), "0123456789");
  chmodSync(join(root, "dir/a b\nc"), 0o4751);
  symlinkSync("/where ever", join(root, "link"));
  const looker = newLooker(t);
  const file = { root, path: "/dir/a b\nc" };
  const seen = await looker.look(file);
  assert.deepEqual([seen.mode, seen.size, seen.target], [0o104751, 10, undefined]);
  assert.equal((await looker.look({ root, path: "link" })).target, "/where ever");
  assert.equal((await looker.look({ root, path: "" })).mode & 0o170000, 0o040000);
  assert.equal((await looker.look({ root: join(root, "dir/a b\nc"), path: "/" })).size, 10);
  const { mode, major, minor } = await looker.look({ root: "/dev", path: "null" });
  assert.deepEqual([mode & 0o170000, major, minor], [0o020000, 1, 3]);
  assert.deepEqual([seen.major, seen.minor], [0, 0]);
  assert.equal((await looker.read(file, 7, 100)).toString(), "789");
  assert.equal((await looker.read(file, 100, 100)).length, 0);
  const many = await Promise.all(Array.from({ length: 200 }, (_, i) => looker.read(file, i % 10, 1)));
  assert.equal(many.map(String).join(""), "0123456789".repeat(20));
});

test("no link is followed, nothing above the root is found, and only regular files are opened", async (t) => {
  const dir = temporaryDirectory(t);
  const root = join(dir, "root");
  mkdirSync(root);
  writeFileSync(join(dir, "secret"), "secret");
  symlinkSync(dir, join(root, "out"));
  symlinkSync(join(dir, "secret"), join(root, "file"));
  execFileSync("mkfifo", [join(root, "fifo")]);
  const looker = newLooker(t);
  await assert.rejects(looker.look({ root, path: "out/secret" }), codeOf("ELOOP"));
  await assert.rejects(looker.look({ root, path: "../secret" }), codeOf("EXDEV"));
  await assert.rejects(looker.read({ root, path: "file" }, 0, 10), codeOf("EINVAL"));
  await assert.rejects(looker.read({ root, path: "fifo" }, 0, 10), codeOf("EINVAL"));
  await assert.rejects(looker.look({ root: "/proc/self/root", path: "etc" }), codeOf("ELOOP"));
  await assert.rejects(looker.look({ root, path: "none" }), codeOf("ENOENT"));
  await assert.rejects(looker.look({ root, path: "a\0b" }), TypeError);
  assert.equal((await looker.look({ root, path: "fifo" })).mode & 0o170000, 0o010000, "it goes on after errors");
});

test("a directory's names are listed, and more than 64 KiB of them are an error", async (t) => {
  const root = temporaryDirectory(t);
  mkdirSync(join(root, "dir"));
  writeFileSync(join(root, "dir/a b\nc"), "");
  symlinkSync("dir", join(root, "link"));
  const looker = newLooker(t);
  assert.deepEqual(await looker.list({ root, path: "dir" }), ["a b\nc"]);
  assert.deepEqual(await looker.list({ root: join(root, "link"), path: "" }), ["a b\nc"]);
  await assert.rejects(looker.list({ root, path: "link" }), codeOf("ENOTDIR"));
  await assert.rejects(looker.list({ root, path: "dir/a b\nc" }), codeOf("ENOTDIR"));
  for (let i = 0; i < 400; i += 1) writeFileSync(join(root, `dir/${i}-${"x".repeat(200)}`), "");
  await assert.rejects(looker.list({ root, path: "dir" }), codeOf("EOVERFLOW"));
  assert.deepEqual((await looker.list({ root, path: "" })).sort(), ["dir", "link"], "it goes on after errors");
});

test("once the signal aborts every question rejects with its reason, and the process is killed", async (t) => {
  const abort = new AbortController();
  const looker = newLooker(t, abort.signal);
  abort.abort(new Error("too late"));
  await assert.rejects(looker.look({ root: "/", path: "etc" }), /too late/);
  await looker.ended;
  assert.throws(() => new BeneathLooker(abort.signal), /too late/);
});

test("a process that ends by itself rejects what was asked, and what is asked later", async (t) => {
  const looker = newLooker(t);
  process.kill(looker.pid, "SIGKILL");
  await assert.rejects(looker.look({ root: "/", path: "etc" }), /has ended|EPIPE/);
  await assert.rejects(looker.look({ root: "/", path: "etc" }), /has ended|EPIPE/);
});
