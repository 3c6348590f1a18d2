import assert from "node:assert/strict";
import { closeSync, fchmodSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { createCgroup, denyDevices, cgroupDirs, detectCgroups, removeCgroup } from "./cgroup.ts";
import { native } from "./native.ts";
import { spawn } from "./spawn.ts";
import { ownMounts } from "./testing/host-mounts.ts";

if (ownMounts(import.meta.url) !== undefined) {
  for (const isMemfd of [true, false]) {
    const place = isMemfd ? "a memfd" : "a read-only file system, for machines that execute no memfd";
    test(`a sealed copy in ${place} can be executed, but not opened and changed`, async () => {
      const fd = native.sealedFile("true", readFileSync("/usr/bin/true"), isMemfd);
      const own = `/proc/${process.pid}/fd/${fd}`;
      assert.equal((await spawn({ file: own }).exited).code, 0);
      assert.throws(() => writeFileSync(own, "#!"), { code: isMemfd ? "EPERM" : "EROFS" });
      if (!isMemfd) assert.throws(() => fchmodSync(fd, 0), { code: "EROFS" });
      closeSync(fd);
    });
  }

  test("a cgroup that is denied all devices can open none, and others are as before", async () => {
    const layout = detectCgroups();
    const path = `/keelson-devices-${process.pid}`;
    createCgroup(layout, path);
    const read = (cgroups: readonly string[]) =>
      spawn({ file: "sh", args: ["-c", "exec 3</dev/zero"], cgroups }).exited;
    assert.equal((await read(cgroupDirs(layout, path))).code, 0);
    denyDevices(layout, path);
    assert.notEqual((await read(cgroupDirs(layout, path))).code, 0);
    assert.equal((await read([])).code, 0);
    await removeCgroup(layout, path, {}, AbortSignal.timeout(5000));
  });

  const v2 = detectCgroups().hierarchies.find(({ version }) => version === 2);
  const unlessV2 = { skip: v2 === undefined && "this machine has no v2 cgroups" };
  test("and so it is in the v2 tree, by a program", unlessV2, async () => {
    assert.ok(v2);
    const dir = join(v2.dir, `keelson-devices-${process.pid}`);
    mkdirSync(dir);
    const read = () => spawn({ file: "sh", args: ["-c", "exec 3</dev/zero"], cgroups: [dir] }).exited;
    assert.equal((await read()).code, 0);
    native.denyDevices(dir);
    assert.notEqual((await read()).code, 0);
    rmdirSync(dir);
    assert.throws(() => native.denyDevices(dir), { code: "ENOENT" });
  });
}
