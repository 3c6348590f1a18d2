import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { expandSlice, planContainerCgroup, planPodCgroup } from "./cgroup-path.ts";

test("the cgroupfs driver accepts paths and slices", () => {
  assert.deepEqual(planPodCgroup("/kubepods/burstable/podX/", "cgroupfs", "p"), {
    driver: "cgroupfs",
    path: "/kubepods/burstable/podX",
    own: false,
  });
  assert.equal(planPodCgroup("kubepods-podX.slice", "cgroupfs", "p").path, "/kubepods.slice/kubepods-podX.slice");
  assert.equal(planPodCgroup("/test.slice", "cgroupfs", "p").path, "/test.slice");
});

test("the systemd driver accepts a slice by name or by path", () => {
  const expected = {
    driver: "systemd",
    path: "/kubepods.slice/kubepods-podX.slice",
    slice: "kubepods-podX.slice",
    own: false,
  };
  assert.deepEqual(planPodCgroup("kubepods-podX.slice", "systemd", "p"), expected);
  assert.deepEqual(planPodCgroup("/kubepods.slice/kubepods-podX.slice", "systemd", "p"), expected);
});

test("a container is below its pod", () => {
  assert.deepEqual(planContainerCgroup(planPodCgroup("/a", "cgroupfs", "p"), "c"), {
    path: "/a/c",
    cgroupsPath: "/a/c",
  });
  assert.deepEqual(planContainerCgroup(planPodCgroup("/", "cgroupfs", "p"), "c"), { path: "/c", cgroupsPath: "/c" });
  assert.deepEqual(planContainerCgroup(planPodCgroup("a-b.slice", "systemd", "p"), "c"), {
    path: "/a.slice/a-b.slice/keelson-c.scope",
    cgroupsPath: "a-b.slice:keelson:c",
  });
  assert.equal(planContainerCgroup(planPodCgroup("-.slice", "systemd", "p"), "c").path, "/keelson-c.scope");
});

test("without a parent every pod gets a cgroup of its own", () => {
  assert.deepEqual(planPodCgroup("", "cgroupfs", "p"), { driver: "cgroupfs", path: "/keelson-p", own: true });
  assert.deepEqual(planPodCgroup("", "systemd", "p"), {
    driver: "systemd",
    path: "/keelson.slice/keelson-p.slice",
    slice: "keelson-p.slice",
    own: true,
  });
});

test("bad parents are refused by name", () => {
  for (const parent of [
    "a/b",
    "/a/../b",
    "/a/./b",
    "..",
    "a\n.slice",
    "/a\0",
    "a--b.slice",
    "-a.slice",
    "a-.slice",
    ".slice",
    "a.slice/b",
  ]) {
    assert.throws(
      () => planPodCgroup(parent, "cgroupfs", "p"),
      { code: Code.InvalidArgument, message: /^linux\.cgroup_parent / },
      parent,
    );
  }
  for (const parent of ["/kubepods/podX", "/other.slice/a-b.slice", "a-b.slice:x", "/a.slice/../a.slice"]) {
    assert.throws(
      () => planPodCgroup(parent, "systemd", "p"),
      { code: Code.InvalidArgument, message: /^linux\.cgroup_parent / },
      parent,
    );
  }
});

test("slices are expanded as in systemd", () => {
  assert.equal(expandSlice("a-b-c.slice"), "/a.slice/a-b.slice/a-b-c.slice");
  assert.equal(expandSlice("-.slice"), "/");
});
