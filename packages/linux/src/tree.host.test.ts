import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { bindMount, mount, unmount } from "./mount.ts";
import { run } from "./run.ts";
import { ownMounts } from "./testing/host-mounts.ts";
import { diskUsage, diskUsageAsync, removeTree, removeTreeAsync } from "./tree.ts";

const base = ownMounts(import.meta.url);
if (base !== undefined) {
  mount({ source: "test", target: base, fstype: "tmpfs" });
  const dir = (name: string): string => {
    mkdirSync(join(base, name), { recursive: true });
    return join(base, name);
  };
  const openFds = (): number => readdirSync("/proc/self/fd").length;

  /** A tree that is deeper than a path can be long, so another process goes down in it step by step. */
  const deep = (name: string, levels: number): string => {
    const top = dir(name);
    const program = `
      const { mkdirSync, writeFileSync } = require("node:fs");
      for (let i = 0; i < ${levels}; i += 1) {
        mkdirSync("d".repeat(50));
        writeFileSync("f", "x");
        mkdirSync("empty");
        process.chdir("d".repeat(50));
      }`;
    const result = spawnSync(process.execPath, ["-e", program], { cwd: top, encoding: "utf8" });
    assert.equal(result.status, 0, result.stderr);
    return top;
  };

  test("a tree far deeper than PATH_MAX is measured and removed, with few fds", async () => {
    const levels = 3000;
    const top = deep("deep", levels);
    assert.equal((await diskUsageAsync(top)).inodes, 1 + 3 * levels);
    const before = openFds();
    removeTree(top);
    assert.equal(existsSync(top), false);
    assert.equal(openFds(), before);
    // The same with hardly any fds left.
    deep("deep2", 300);
    const script = `import { removeTree, diskUsage } from ${JSON.stringify(new URL("./tree.ts", import.meta.url).href)}; diskUsage(process.argv[1]); removeTree(process.argv[1]);`;
    const result = await run({
      file: "sh",
      args: [
        "-c",
        'ulimit -n 110; exec "$@"',
        "sh",
        process.execPath,
        "--input-type=module",
        "-e",
        script,
        join(base, "deep2"),
      ],
    });
    assert.equal(result.code, 0, result.stderr.toString());
    assert.equal(existsSync(join(base, "deep2")), false);
  });

  test("removal follows no symlink out of the tree", () => {
    const outside = dir("outside");
    writeFileSync(join(outside, "keep"), "x");
    const top = dir("links");
    symlinkSync(outside, join(top, "out"));
    symlinkSync("../outside", join(top, "out2"));
    symlinkSync("..", join(top, "up"));
    symlinkSync("loop", join(top, "loop"));
    removeTree(top);
    assert.equal(existsSync(top), false);
    symlinkSync(outside, top);
    removeTree(top); // the link itself
    assert.equal(existsSync(top), false);
    assert.equal(readFileSync(join(outside, "keep"), "utf8"), "x");
  });

  test("a mount in the way keeps its content and is named by EBUSY; everything else is removed", async () => {
    const outside = dir("volume");
    writeFileSync(join(outside, "keep"), "x");
    const top = dir("mounted");
    for (const name of ["a/b/volume", "a/other", "z"]) dir(join("mounted", name));
    writeFileSync(join(top, "a/other/file"), "");
    bindMount(outside, join(top, "a/b/volume")); // same device: only the mount tells it apart
    const usage = diskUsage(top);
    assert.equal(usage.inodes, 6); // top a b other file z
    await assert.rejects(removeTreeAsync(top), { code: "EBUSY", path: top, message: /volume/ });
    assert.equal(readFileSync(join(outside, "keep"), "utf8"), "x");
    assert.deepEqual(readdirSync(join(top, "a")), ["b"]);
    assert.deepEqual(readdirSync(top), ["a"]);
    assert.throws(() => removeTree(join(top, "a/b/volume")), { code: "EBUSY" });
    assert.equal(readFileSync(join(outside, "keep"), "utf8"), "x");
    unmount(join(top, "a/b/volume"));
    removeTree(top);
    assert.equal(existsSync(top), false);
  });

  test("missing trees, files, odd names and modes are handled", () => {
    removeTree(join(base, "missing"));
    removeTree(join(base, "missing/deeper"));
    assert.throws(() => diskUsage(join(base, "missing")), { code: "ENOENT" });
    writeFileSync(join(base, "file"), "x");
    removeTree(join(base, "file"));
    const top = dir("odd");
    for (const name of ["a b", "new\nline", "-rf", "*", "ü"]) writeFileSync(join(top, name), "");
    mkdirSync(Buffer.concat([Buffer.from(`${top}/`), Buffer.from([0xff, 0xfe])]));
    chmodSync(dir("odd/closed"), 0);
    removeTree(`${top}//`);
    assert.equal(existsSync(top), false);
    for (const path of ["/", `${base}/..`, `${base}/.`, ""])
      assert.throws(() => removeTree(path), { code: "EINVAL" }, path);
  });

  test("usage counts blocks, not holes, and hard links once", () => {
    const top = dir("usage");
    writeFileSync(join(top, "a"), Buffer.alloc(8192, 1));
    const empty = diskUsage(dir("usage/sub")).bytes;
    for (let i = 0; i < 5; i++) linkSync(join(top, "a"), join(top, `sub/link${i}`));
    writeFileSync(join(top, "hole"), "");
    truncateSync(join(top, "hole"), 1 << 30);
    assert.deepEqual(diskUsage(top), { bytes: 8192 + 2 * empty, inodes: 4 });
    assert.deepEqual(diskUsage(join(top, "a")), { bytes: 8192, inodes: 1 });
    for (let i = 0; i < 3000; i++) {
      writeFileSync(join(top, `n${i}`), "");
      linkSync(join(top, `n${i}`), join(top, "sub", `n${i}`));
    }
    assert.equal(diskUsage(top).inodes, 3004);
    removeTree(top);
  });

  test("many files are removed, and two removals of one tree do not disturb each other", async () => {
    const top = dir("many");
    for (let i = 0; i < 3000; i++) writeFileSync(join(top, `file${i}`.padEnd(100, "x")), "");
    for (let i = 0; i < 300; i++) writeFileSync(join(dir(`many/dir${i}/in`), "f"), "");
    await Promise.all([removeTreeAsync(top), removeTreeAsync(top), diskUsageAsync(top).catch(() => undefined)]);
    assert.equal(existsSync(top), false);
  });

  test("it works in a worker", async () => {
    dir("worker/a/b");
    const worker = new Worker(
      `import(${JSON.stringify(new URL("./tree.ts", import.meta.url).href)}).then(({ removeTree }) => removeTree(${JSON.stringify(join(base, "worker"))}));`,
      { eval: true },
    );
    await new Promise((resolve) => worker.once("exit", resolve));
    assert.equal(existsSync(join(base, "worker")), false);
  });
}
