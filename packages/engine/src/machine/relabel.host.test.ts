// Labels are attributes that any kernel stores for root; only one with SELinux acts on them.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { lgetxattr, lsetxattr } from "@keelson/linux/file.ts";
import { labelAttribute, relabelTree } from "@keelson/linux/relabel-tree.ts";
import { DeadMount } from "@keelson/testkit/dead-mount.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { relabel } from "./relabel.ts";

const label = "system_u:object_r:container_file_t:s0:c1,c2";
const signal = AbortSignal.timeout(30_000);
const labelOf = (path: string) => lgetxattr(path, labelAttribute)?.toString() ?? null;

function makeDir(t: TestContext): string {
  const dir = mkdtempSync("/run/keelson-relabel-");
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** security.selinux can be written if no module owns it, but not on every file system. */
function keepsLabels(): boolean {
  const dir = mkdtempSync("/run/keelson-relabel-");
  try {
    lsetxattr(dir, labelAttribute, Buffer.from("x"));
    return true;
  } catch {
    return false;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const unlessKept = skip || (keepsLabels() ? false : "the file system of /run keeps no labels");

test("a tree gets a label, including links but not what they lead to", { skip: unlessKept }, async (t) => {
  const dir = makeDir(t);
  mkdirSync(join(dir, "tree/a/b"), { recursive: true });
  writeFileSync(join(dir, "outside"), "");
  mkdirSync(join(dir, "outside-dir"));
  writeFileSync(join(dir, "outside-dir/file"), "");
  for (let i = 0; i < 600; i += 1) writeFileSync(join(dir, `tree/a/file${i}`), "");
  symlinkSync("../outside", join(dir, "tree/link"));
  symlinkSync("../outside-dir", join(dir, "tree/dir-link"));
  await relabel(join(dir, "tree"), label, signal);
  for (const path of ["tree", "tree/a", "tree/a/b", "tree/a/file0", "tree/a/file599", "tree/link", "tree/dir-link"])
    assert.equal(labelOf(join(dir, path)), `${label}\0`, path);
  for (const path of ["outside", "outside-dir", "outside-dir/file"])
    assert.notEqual(labelOf(join(dir, path)), `${label}\0`, path);
});

test("a file gets a label, and a missing path is no error", { skip: unlessKept }, async (t) => {
  const dir = makeDir(t);
  writeFileSync(join(dir, "file"), "");
  await relabel(join(dir, "file"), label, signal);
  assert.equal(labelOf(join(dir, "file")), `${label}\0`);
  await relabel(join(dir, "none"), label, signal);
});

test(
  "names that are not UTF-8 are labelled too, and what has the label is not written again",
  { skip: unlessKept },
  async (t) => {
    const dir = makeDir(t);
    const odd = Buffer.from(join(dir, "\xff"), "latin1");
    writeFileSync(odd, "");
    await relabel(dir, label, signal);
    assert.equal(lgetxattr(odd, labelAttribute)?.toString(), `${label}\0`);
    const { ctimeNs } = statSync(odd, { bigint: true });
    await relabel(dir, label, signal);
    assert.equal(statSync(odd, { bigint: true }).ctimeNs, ctimeNs);
  },
);

test(
  "what cannot be written is an error that names it, and an abort ends it; nothing stays open",
  { skip: unlessKept },
  async (t) => {
    const dir = makeDir(t);
    execFileSync("mount", ["-t", "tmpfs", "-o", "ro", "none", dir]);
    try {
      await assert.rejects(relabel(dir, label, signal), {
        code: Code.FailedPrecondition,
        message: new RegExp(`give ${dir} the SELinux label .*EROFS`),
      });
    } finally {
      execFileSync("umount", [dir]);
    }
    for (let i = 0; i < 1000; i += 1) writeFileSync(join(dir, String(i)), "");
    const fds = readdirSync("/proc/self/fd").length;
    const abort = new AbortController();
    setImmediate(() => abort.abort(new Error("enough")));
    await assert.rejects(relabel(dir, label, abort.signal), /enough/);
    assert.equal(readdirSync("/proc/self/fd").length, fds);
  },
);

test("a tree that somebody made as deep as they could is an error", { skip: unlessKept }, async (t) => {
  const dir = makeDir(t);
  execFileSync("mount", ["-t", "tmpfs", "none", dir]); // nothing else removes such a tree in one go
  try {
    const dig = "for (let i = 0; i < 4200; i++) { fs.mkdirSync('d'); process.chdir('d'); }";
    execFileSync(process.execPath, ["-e", dig], { cwd: dir });
    await assert.rejects(relabel(dir, label, signal), { code: Code.FailedPrecondition, message: /ENAMETOOLONG/ });
  } finally {
    execFileSync("umount", [dir]);
  }
});

test("a volume whose server is gone holds up nothing but its own call", { skip }, async (t) => {
  const dir = makeDir(t);
  using mount = DeadMount.open(join(dir, "volume"));
  assert.ok(mount !== undefined, "this machine has no FUSE");
  mount.die();
  await assert.rejects(relabel(mount.path, label, AbortSignal.timeout(300)), { name: "TimeoutError" });
  await assert.rejects(relabel(mount.path, label, signal, 200), {
    code: Code.DeadlineExceeded,
    message: /volume did not answer within 0.2 s/,
  });
  mount.close();
});

test("a volume that takes long is not given up as long as it goes on", { skip: unlessKept }, async (t) => {
  const dir = makeDir(t);
  for (let i = 0; i < 1000; i += 1) writeFileSync(join(dir, String(i)), "");
  let progress = 0;
  await relabelTree(dir, label, signal, () => (progress += 1));
  assert.ok(progress >= 1, `${progress}`);
  execFileSync("mount", ["-o", "bind", dir, dir]);
  execFileSync("mount", ["-o", "remount,bind,ro", dir]);
  try {
    const other = `${label},c3`;
    await assert.rejects(relabelTree(dir, other, signal), { code: "EROFS" });
  } finally {
    execFileSync("umount", [dir]);
  }
});

test("the machine's own directories keep their labels", { skip }, async () => {
  for (const path of ["/", "/etc", "/usr", "/var"])
    await assert.rejects(relabel(path, label, signal), {
      code: Code.InvalidArgument,
      message: /keep its SELinux labels/,
    });
});
