import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import {
  cgroupDirs,
  cgroupProcs,
  controllerDir,
  createCgroup,
  detectCgroups,
  isCgroupEmpty,
  killCgroup,
} from "./cgroup.ts";

function fakeTree(t: TestContext, files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), "cgroup-"));
  t.after(() => rmSync(root, { recursive: true }));
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  return root;
}

const v2Root = {
  "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
  "cgroup.subtree_control": "cpu memory\n",
  "cgroup.procs": "1\n",
};

test("v2 is recognised by its controllers file", (t) => {
  const layout = detectCgroups(fakeTree(t, v2Root));
  assert.equal(layout.kind, "v2");
  assert.deepEqual(layout.hierarchies[0]?.controllers, [
    "cpuset",
    "cpu",
    "io",
    "memory",
    "hugetlb",
    "pids",
    "rdma",
    "misc",
  ]);
  assert.equal(controllerDir(layout, "/kubepods/pod1", "memory"), join(layout.root, "kubepods/pod1"));
  assert.equal(controllerDir(layout, "/kubepods/pod1", "net_cls"), undefined);
});

test("v1 with joint and named hierarchies, symlinks and empty mount points", (t) => {
  const root = fakeTree(t, {
    "cpu,cpuacct/cgroup.procs": "",
    "memory/cgroup.procs": "",
    "systemd/cgroup.procs": "",
    "stray/file": "",
  });
  symlinkSync("cpu,cpuacct", join(root, "cpu"));
  const layout = detectCgroups(root);
  assert.equal(layout.kind, "v1");
  assert.deepEqual(
    layout.hierarchies.map(({ dir, controllers, name }) => [dir.slice(root.length), controllers, name]),
    [
      ["/cpu,cpuacct", ["cpu", "cpuacct"], undefined],
      ["/memory", ["memory"], undefined],
      ["/systemd", [], "systemd"],
    ],
  );
  assert.deepEqual(
    cgroupDirs(layout, "/a/b"),
    ["cpu,cpuacct", "memory", "systemd"].map((name) => join(root, name, "a/b")),
  );
});

test("hybrid is v1 with a v2 tree beside it", (t) => {
  const layout = detectCgroups(
    fakeTree(t, { "memory/cgroup.procs": "", "unified/cgroup.procs": "", "unified/cgroup.controllers": "hugetlb\n" }),
  );
  assert.equal(layout.kind, "hybrid");
  assert.deepEqual(new Set(layout.hierarchies.map((h) => h.version)), new Set([1, 2]));
});

test("a host without cgroups is an error that says what to do", (t) => {
  assert.throws(() => detectCgroups(fakeTree(t, { "stray/file": "" })), /mount cgroup2/);
  assert.throws(() => detectCgroups("/nonexistent"), /mount cgroup2/);
});

test("a path that means the root or leads out is refused", async (t) => {
  const layout = detectCgroups(fakeTree(t, v2Root));
  for (const path of ["/", "", "a", "/..", "/a/../..", "/a//b", "/a/", "/./a"]) {
    assert.throws(() => createCgroup(layout, path), TypeError, path);
    await assert.rejects(killCgroup(layout, path, { timeoutMs: 0 }), TypeError, path);
  }
});

test("on v2 a new cgroup's parents pass every controller down", (t) => {
  const root = fakeTree(t, {
    ...v2Root,
    "kubepods/cgroup.controllers": "cpu memory\n",
    "kubepods/cgroup.subtree_control": "",
  });
  createCgroup(detectCgroups(root), "/kubepods/pod1");
  // A fake file keeps only the last write; the kernel's adds them up.
  assert.equal(readFileSync(join(root, "cgroup.subtree_control"), "utf8"), "+misc");
  assert.equal(readFileSync(join(root, "kubepods/cgroup.subtree_control"), "utf8"), "+memory");
});

test("on v1 a new cpuset copies its parent's CPUs", (t) => {
  const root = fakeTree(t, {
    "cpuset/cgroup.procs": "",
    "cpuset/cpuset.cpus": "0-3\n",
    "cpuset/cpuset.mems": "0\n",
    "cpuset/a/cpuset.cpus": "\n",
    "cpuset/a/cpuset.mems": "",
    "cpuset/a/b/cpuset.cpus": "1\n",
    "cpuset/a/b/cpuset.mems": "\n",
  });
  createCgroup(detectCgroups(root), "/a/b");
  assert.equal(readFileSync(join(root, "cpuset/a/cpuset.cpus"), "utf8"), "0-3");
  assert.equal(readFileSync(join(root, "cpuset/a/b/cpuset.cpus"), "utf8"), "1\n");
  assert.equal(readFileSync(join(root, "cpuset/a/b/cpuset.mems"), "utf8"), "0");
});

test("processes are collected from all hierarchies and levels", (t) => {
  const layout = detectCgroups(
    fakeTree(t, {
      "memory/cgroup.procs": "1\n",
      "pids/cgroup.procs": "1\n",
      "memory/a/cgroup.procs": "30\n0\n4\n",
      "memory/a/b/cgroup.procs": "5\n",
      "pids/a/cgroup.procs": "4\n6\n",
    }),
  );
  assert.deepEqual(cgroupProcs(layout, "/a"), [4, 5, 6, 30]);
  assert.equal(isCgroupEmpty(layout, "/a"), false);
  assert.equal(isCgroupEmpty(layout, "/missing"), true);
});

test("on v2 emptiness is what the kernel says, and cgroup.kill does the killing", async (t) => {
  const root = fakeTree(t, {
    ...v2Root,
    "a/cgroup.events": "populated 1\nfrozen 0\n",
    "a/cgroup.kill": "",
    "a/cgroup.procs": "",
  });
  const layout = detectCgroups(root);
  assert.equal(isCgroupEmpty(layout, "/a"), false);
  await assert.rejects(killCgroup(layout, "/a", { timeoutMs: 0 }), { code: "EBUSY" });
  assert.equal(readFileSync(join(root, "a/cgroup.kill"), "utf8"), "1");
  writeFileSync(join(root, "a/cgroup.events"), "populated 0\nfrozen 0\n");
  await killCgroup(layout, "/a");
});
