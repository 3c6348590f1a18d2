import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  cgroupDirs,
  cgroupProcs,
  controllerDir,
  createCgroup,
  detectCgroups,
  isCgroupEmpty,
  killCgroup,
  removeCgroup,
} from "./cgroup.ts";
import { readCgroup } from "./procfs.ts";
import { spawn } from "./spawn.ts";

const layout = detectCgroups();
let count = 0;
const newPath = (): string => `/keelson-test-${process.pid}/${++count}`;

test("a cgroup is created in every hierarchy, entered by spawn, and removed", async () => {
  const path = newPath();
  createCgroup(layout, path);
  createCgroup(layout, path); // may exist
  const dirs = cgroupDirs(layout, path);
  assert.ok(dirs.every((dir) => existsSync(dir)));
  assert.equal(isCgroupEmpty(layout, path), true);
  const child = spawn({ file: "sleep", args: ["100"], cgroups: dirs });
  assert.deepEqual(cgroupProcs(layout, path), [child.pid]);
  const joined = readCgroup(child.pid)?.filter((line) => line.path === path);
  assert.equal(joined?.length, layout.hierarchies.length);
  await assert.rejects(removeCgroup(layout, path, { timeoutMs: 30 }), { code: "EBUSY" });
  await killCgroup(layout, path);
  assert.equal((await child.exited).signal, "SIGKILL");
  await removeCgroup(layout, path);
  await removeCgroup(layout, path); // missing is fine
  await killCgroup(layout, path);
  assert.ok(dirs.every((dir) => !existsSync(dir)));
});

test("children that keep forking are killed to the last", async () => {
  const path = newPath();
  createCgroup(layout, path);
  const pids = controllerDir(layout, path, "pids");
  if (pids !== undefined) writeFileSync(join(pids, "pids.max"), "200");
  const dirs = cgroupDirs(layout, path);
  const children = Array.from({ length: 5 }, () =>
    spawn({
      file: "sh",
      args: ["-c", "trap '' TERM; while :; do sh -c 'sleep 0.01 & sleep 0.01 & exit' & sleep 0.001; done"],
      cgroups: dirs,
    }),
  );
  await new Promise((resolve) => setTimeout(resolve, 150));
  assert.ok(cgroupProcs(layout, path).length > 5);
  await killCgroup(layout, path);
  await Promise.all(children.map((child) => child.exited));
  assert.deepEqual(cgroupProcs(layout, path), []);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(cgroupProcs(layout, path), []);
  await removeCgroup(layout, path);
});

test("frozen processes and those in cgroups below are killed too", async () => {
  const path = newPath();
  createCgroup(layout, `${path}/container/inner`);
  const child = spawn({ file: "sleep", args: ["100"], cgroups: cgroupDirs(layout, `${path}/container/inner`) });
  const freezer = controllerDir(layout, `${path}/container/inner`, "freezer");
  if (freezer !== undefined) {
    writeFileSync(join(freezer, "freezer.state"), "FROZEN");
    assert.match(readFileSync(join(freezer, "freezer.state"), "utf8"), /FROZEN|FREEZING/);
  }
  assert.deepEqual(cgroupProcs(layout, path), [child.pid]);
  await killCgroup(layout, path);
  assert.equal((await child.exited).signal, "SIGKILL");
  await removeCgroup(layout, path);
});

test("a cgroup that exists in one hierarchy only, with levels that a container created, is removed", async () => {
  const path = newPath();
  const dir = cgroupDirs(layout, path)[0] ?? assert.fail();
  mkdirSync(join(dir, "a/b/c"), { recursive: true });
  await removeCgroup(layout, path);
  assert.equal(existsSync(dir), false);
});

test("waiting ends with the signal", async () => {
  const path = newPath();
  createCgroup(layout, path);
  const child = spawn({ file: "sleep", args: ["100"], cgroups: cgroupDirs(layout, path) });
  await assert.rejects(removeCgroup(layout, path, {}, AbortSignal.timeout(20)), { name: "AbortError" });
  child.kill("SIGKILL");
  await child.exited;
  await removeCgroup(layout, path);
  await removeCgroup(layout, `/keelson-test-${process.pid}`);
});
