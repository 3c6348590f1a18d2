import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { bindSource } from "./bind-source.ts";
import type { SystemError } from "./errno.ts";
import { MS, bindMount, mount, mountsUnder, readMounts, unmount, unmountAllUnder, unmountAsync } from "./mount.ts";
import type { MountInfo } from "./mount.ts";
import { builtFile } from "./native.ts";
import { run } from "./run.ts";
import { ownMounts } from "./testing/host-mounts.ts";

const base = ownMounts(import.meta.url);
if (base !== undefined) {
  mount({ source: "test", target: base, fstype: "tmpfs" });
  const dir = (name: string): string => {
    mkdirSync(join(base, name), { recursive: true });
    return join(base, name);
  };
  const at = (target: string): MountInfo | undefined => readMounts().findLast((info) => info.target === target);

  test("a failed mount says what, where and why", () => {
    assert.throws(() => mount({ source: "x", target: join(base, "none"), fstype: "tmpfs" }), {
      message: `mount tmpfs on ${base}/none: No such file or directory (ENOENT)`,
      code: "ENOENT",
      errno: 2,
      syscall: "mount",
      path: `${base}/none`,
    });
    assert.throws(() => unmount(dir("plain")), { code: "EINVAL", syscall: "umount2" });
    assert.equal(unmount(dir("plain"), { ignoreMissing: true }), false);
    assert.equal(unmount(join(base, "none"), { ignoreMissing: true }), false);
    assert.throws(() => mount({ target: "/x\0y", fstype: "tmpfs" }), TypeError);
  });

  for (const oldCalls of [false, true]) {
    test(`a read-only bind mount keeps the source's flags (${oldCalls ? "old" : "new"} calls)`, () => {
      const source = dir(`source-${oldCalls}`);
      const target = dir(`target-${oldCalls}`);
      mount({ source: "t", target: source, fstype: "tmpfs", flags: MS.NOSUID | MS.NODEV | MS.NOEXEC });
      bindMount(source, target, { readonly: true, propagation: "rslave", oldCalls });
      const options = at(target)?.options ?? [];
      for (const option of ["ro", "nosuid", "nodev", "noexec"]) assert.ok(options.includes(option), option);
      assert.throws(() => writeFileSync(join(target, "x"), ""), { code: "EROFS" });
      writeFileSync(join(source, "x"), "");
      unmount(target);
      bindMount(source, target, { oldCalls });
      writeFileSync(join(target, "y"), "");
      assert.ok(existsSync(join(source, "y")));
    });
  }

  test("recursive read-only reaches the mounts below, plain read-only does not", () => {
    const source = dir("deep");
    mount({ source: "t", target: dir("deep"), fstype: "tmpfs" });
    mount({ source: "t", target: dir("deep/inner"), fstype: "tmpfs" });
    const target = dir("deep-target");
    bindMount(source, target, { recursive: true, readonly: "recursive" });
    assert.throws(() => writeFileSync(join(target, "inner/x"), ""), { code: "EROFS" });
    unmount(target, { detach: true });
    bindMount(source, target, { recursive: true, readonly: true });
    writeFileSync(join(target, "inner/x"), "");
    assert.throws(() => writeFileSync(join(target, "x"), ""), { code: "EROFS" });
    unmount(target, { detach: true });
    assert.throws(() => bindMount(source, target, { readonly: "recursive", oldCalls: true }), { code: "ENOSYS" });
    assert.deepEqual(mountsUnder(target), []);
  });

  test("a failed bind mount leaves nothing behind and names what is missing", () => {
    assert.throws(() => bindMount(join(base, "none"), dir("t1")), { code: "ENOENT", path: join(base, "none") });
    assert.throws(() => bindMount(dir("t1"), join(base, "none")), { code: "ENOENT", path: join(base, "none") });
  });

  test("a bind mount by a process of its own is as one by ours, and so are its errors", async () => {
    const signal = AbortSignal.timeout(60_000);
    const [source, target] = [dir("apart"), dir("apart-at")];
    mount({ source: "t", target: source, fstype: "tmpfs", flags: MS.NOSUID });
    await bindSource(source, target, { readonly: "recursive", recursive: true, propagation: "rslave" }, signal);
    const options = at(target)?.options ?? [];
    assert.deepEqual([options.includes("ro"), options.includes("nosuid")], [true, true]);
    unmount(target);
    for (const [from, to, syscall] of [
      [join(base, "none"), target, "open_tree"],
      [source, join(base, "none"), "move_mount"],
    ] as const)
      await assert.rejects(bindSource(from, to, {}, signal), (error: unknown) => {
        const { code, message, syscall: call } = error as SystemError;
        assert.deepEqual([code, call], ["ENOENT", syscall]);
        return message.startsWith(`bind ${from} on ${to}`);
      });
    const ofAnother = [String(process.pid + 1), source, target, "0", "0", "0", ""];
    assert.equal((await run({ file: builtFile("bind-source"), args: ofAnother })).code, 2, "its parent is gone");
    assert.equal(at(target), undefined);
    unmount(source);
  });

  test("propagation is set and read", () => {
    const target = dir("prop");
    mount({ source: "t", target, fstype: "tmpfs" });
    mount({ target, flags: MS.SHARED });
    assert.ok((at(target)?.shared ?? 0) > 0);
    mount({ target, flags: MS.SLAVE | MS.REC }); // alone in its peer group, a slave becomes private
    assert.equal(at(target)?.shared, undefined);
    mount({ target, flags: MS.UNBINDABLE });
    assert.equal(at(target)?.unbindable, true);
  });

  test("hostile mount points are listed and unmounted", async () => {
    const top = dir("hostile");
    const names = ["a b", "tab\t", "new\nline", "back\\040slash", "- tmpfs", "ünï", "#x"];
    for (const name of names) mount({ source: "t", target: dir(join("hostile", name)), fstype: "tmpfs" });
    const bytes = Buffer.concat([Buffer.from(`${top}/`), Buffer.from([0xff, 0xfe])]);
    mkdirSync(bytes);
    bindMount(dir("plain"), dir("hostile/stack"));
    bindMount(dir("plain"), dir("hostile/stack"));
    assert.deepEqual(
      mountsUnder(top)
        .map((info) => info.target.slice(top.length + 1))
        .slice(0, names.length),
      names,
    );
    assert.equal(await unmountAllUnder(top), names.length + 2);
    assert.deepEqual(mountsUnder(top), []);
    assert.equal(await unmountAllUnder(top), 0);
  });

  test("nested mounts are unmounted deepest first, busy ones too", async () => {
    const top = dir("nest");
    mount({ source: "t", target: top, fstype: "tmpfs" });
    mount({ source: "t", target: dir("nest/a"), fstype: "tmpfs" });
    mount({ source: "t", target: dir("nest/a/b"), fstype: "tmpfs" });
    const here = process.cwd();
    process.chdir(join(top, "a/b"));
    assert.throws(() => unmount(join(top, "a/b")), { code: "EBUSY" });
    await assert.rejects(unmountAsync(join(top, "a/b")), { code: "EBUSY" });
    assert.equal(await unmountAllUnder(top), 3);
    process.chdir(here);
    assert.equal(readFileSync("/proc/self/mountinfo", "utf8").includes("/nest"), false);
  });
}
