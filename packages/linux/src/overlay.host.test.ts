import assert from "node:assert/strict";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { mount, readMounts, unmount } from "./mount.ts";
import { mountOverlay, mountOverlayAsync } from "./overlay.ts";
import type { OverlayOptions } from "./overlay.ts";
import { ownMounts } from "./testing/host-mounts.ts";

const base = ownMounts(import.meta.url);
if (base !== undefined) {
  mount({ source: "test", target: base, fstype: "tmpfs" });
  const dir = (...names: string[]): string => {
    const path = join(base, ...names);
    mkdirSync(path, { recursive: true });
    return path;
  };
  const target = dir("target");
  let count = 0;
  const upper = (): { upperDir: string; workDir: string } => ({
    upperDir: dir(`upper${++count}`),
    workDir: dir(`work${count}`),
  });
  const [major = 0, minor = 0] = release().split(".").map(Number);
  const takesLayersOneByOne = major > 6 || (major === 6 && minor >= 7);
  const methods: NonNullable<OverlayOptions["method"]>[] = [
    "auto",
    ...(takesLayersOneByOne ? ["fsconfig" as const] : []),
    "mount",
    "mount-fds",
  ];

  for (const method of methods) {
    test(`100 layers of long paths are one mount (${method})`, async () => {
      const lowerDirs: string[] = [];
      for (let i = 0; i < 100; i++) {
        lowerDirs.push(dir(method, "x".repeat(200), `${i}`.padStart(200, "layer"), "fs"));
        writeFileSync(join(lowerDirs[i] ?? "", `file${i}`), `${i}`);
        writeFileSync(join(lowerDirs[i] ?? "", "same"), `${i}`);
      }
      assert.ok(lowerDirs.join(":").length > 40_000);
      const cwd = process.cwd();
      const layers = upper();
      await mountOverlayAsync({ lowerDirs, ...layers, target, method });
      assert.equal(process.cwd(), cwd);
      assert.equal(readdirSync(target).length, 101);
      assert.equal(readFileSync(join(target, "same"), "utf8"), "0");
      writeFileSync(join(target, "new"), "1");
      assert.equal(readFileSync(join(layers.upperDir, "new"), "utf8"), "1");
      unmount(target);
    });

    test(`128 layers without an upper one are read-only (${method})`, () => {
      const lowerDirs = Array.from({ length: 128 }, (_, i) => dir(method, "s", `${i}`));
      mountOverlay({ lowerDirs, target, method });
      assert.throws(() => writeFileSync(join(target, "x"), ""), { code: "EROFS" });
      unmount(target);
    });

    test(`paths with separators and backslashes mean themselves (${method})`, () => {
      const names = ["a:b", "a,b", "a\\b", "a\\:b,c", ":", "\\\\", "sp ace", "new\nline"];
      const lowerDirs = names.map((name) => dir(method, "odd", name));
      lowerDirs.forEach((path, i) => writeFileSync(join(path, `file${i}`), ""));
      const upperDir = dir(method, "odd", "up:per,\\x");
      mountOverlay({ lowerDirs, upperDir, workDir: dir(method, "odd", "wo\\rk,:"), target, method });
      assert.equal(readdirSync(target).length, names.length);
      writeFileSync(join(target, "new"), "");
      assert.deepEqual(readdirSync(upperDir), ["new"]);
      unmount(target);
    });

    test(`readonly and volatile reach the mount (${method})`, () => {
      mountOverlay({ lowerDirs: [dir("l")], ...upper(), target, readonly: true, volatile: true, method });
      const info = readMounts().findLast((candidate) => candidate.target === target);
      assert.ok(info?.options.includes("ro"));
      assert.match(info?.superOptions ?? "", /volatile/);
      unmount(target);
    });

    test(`a missing layer is named, and nothing is mounted (${method})`, () => {
      const missing = join(base, "missing");
      assert.throws(() => mountOverlay({ lowerDirs: [dir("l"), missing], ...upper(), target, method }), {
        code: "ENOENT",
      });
      assert.throws(() => mountOverlay({ lowerDirs: [dir("l")], ...upper(), target: missing, method }), {
        code: "ENOENT",
      });
      assert.equal(
        readMounts().some((info) => info.target === target),
        false,
      );
    });
  }

  test("overlayfs's own message about a failure is in ours", () => {
    assert.throws(
      () => mountOverlay({ lowerDirs: [dir("l")], ...upper(), target, options: ["nonsense=1"] }),
      takesLayersOneByOne ? /\(EINVAL\): .*nonsense/ : /\(EINVAL\)/,
    );
    assert.throws(() => mountOverlay({ lowerDirs: [dir("l")], upperDir: dir("u"), target }), TypeError);
  });

  test("relative paths and no layers are refused", () => {
    assert.throws(() => mountOverlay({ lowerDirs: ["l"], target }), TypeError);
    assert.throws(() => mountOverlay({ lowerDirs: [], target }), TypeError);
  });

  test("a lower layer can be shared by mounts that stack it differently", () => {
    const other = dir("other");
    mountOverlay({ lowerDirs: [dir("l"), dir("m")], ...upper(), target });
    mountOverlay({ lowerDirs: [dir("l"), dir("n")], ...upper(), target: other });
    unmount(target);
    unmount(other);
  });
}
