import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { type CdiEdits, planCdiDevices, withCdiEdits } from "./cdi.ts";
import { hostFrom } from "./testing/plan-fixture.ts";

const none: CdiEdits = { env: [], deviceNodes: [], netDevices: [], mounts: [], hooks: [], additionalGids: [] };
const spec: Spec = {
  ociVersion: "1.0.2",
  process: { cwd: "/", user: { uid: 1000, gid: 100, additionalGids: [100] }, env: ["PATH=/bin", "A=0"] },
  mounts: [
    { destination: "/proc", type: "proc" },
    { destination: "/dev/pts", type: "devpts" },
    { destination: "/data/deep", type: "bind", source: "/y" },
  ],
  linux: {
    devices: [{ path: "/dev/a", type: "c", major: 9, minor: 9 }],
    resources: { devices: [{ allow: false, access: "rwm" }] },
  },
};
const edit = (edits: Partial<CdiEdits>, from = spec) => withCdiEdits(from, { ...none, ...edits }, hostFrom());

test("devices of the field come before those of annotations, without duplicates", () => {
  const devices = [{ name: "v.com/gpu=0" }, { name: "v.com/gpu=1:2" }, { name: "v.com/gpu=0" }];
  assert.deepEqual(planCdiDevices(devices, { "cdi.k8s.io/plugin": "v.com/net=a,v.com/gpu=0", other: "x" }), [
    "v.com/gpu=0",
    "v.com/gpu=1:2",
    "v.com/net=a",
  ]);
  for (const name of [
    "",
    "gpu",
    "v.com/gpu",
    "v.com/gpu=",
    "/gpu=0",
    "v.com/gpu=a/b",
    "v.com/../gpu=0",
    "v.com/gpu=0\n",
    `v.com/gpu=${"x".repeat(600)}`,
  ]) {
    assert.throws(
      () => planCdiDevices([{ name }], {}),
      { code: Code.InvalidArgument, message: /^CDI_devices\[0\]\.name / },
      name,
    );
  }
  assert.throws(() => planCdiDevices([], { "cdi.k8s.io/x": "v.com/gpu=0," }), {
    code: Code.InvalidArgument,
    message: /^annotations\[cdi\.k8s\.io\/x\] /,
  });
});

test("without edits the spec stays as it is", () => assert.deepEqual(edit({}), spec));

test("variables replace those of the same name", () => {
  assert.deepEqual(edit({ env: ["A=1", "B=x=y", "A=2"] }).process?.env, ["PATH=/bin", "A=2", "B=x=y"]);
});

test("nodes replace those at the same path, are allowed in the cgroup, and belong to the process unless they have an owner", () => {
  const { linux } = edit({
    deviceNodes: [
      { path: "/dev/a", type: "c", major: 1, minor: 3, permissions: "rw" },
      { path: "/dev/b", type: "b", major: 8, minor: 0, permissions: "r", uid: 0, gid: 6, fileMode: 0o660 },
      { path: "/dev/p", type: "p", major: 0, minor: 0, permissions: "rwm" },
    ],
  });
  assert.deepEqual(linux?.devices, [
    { path: "/dev/a", type: "c", major: 1, minor: 3, uid: 1000, gid: 100 },
    { path: "/dev/b", type: "b", major: 8, minor: 0, uid: 0, gid: 6, fileMode: 0o660 },
    { path: "/dev/p", type: "p", major: 0, minor: 0, uid: 1000, gid: 100 },
  ]);
  assert.deepEqual(linux?.resources?.devices, [
    { allow: false, access: "rwm" },
    { allow: true, type: "c", major: 1, minor: 3, access: "rw" },
    { allow: true, type: "b", major: 8, minor: 0, access: "r" },
  ]);
  assert.deepEqual(spec.linux?.devices?.length, 1, "what came in is unchanged");
});

test("mounts replace those at the same place and hide no others", () => {
  const { mounts } = edit({
    mounts: [
      { hostPath: "/lib/x", containerPath: "/data/" },
      { hostPath: "/p", containerPath: "/proc", options: ["ro", "bind"] },
      { hostPath: "tmpfs", containerPath: "/t/u/v", type: "tmpfs", options: ["size=1k"] },
    ],
  });
  assert.deepEqual(mounts, [
    { destination: "/data", type: "bind", source: "/lib/x", options: ["rbind"] },
    { destination: "/proc", type: "bind", source: "/p", options: ["ro", "bind"] },
    { destination: "/dev/pts", type: "devpts" },
    { destination: "/data/deep", type: "bind", source: "/y" },
    { destination: "/t/u/v", type: "tmpfs", source: "tmpfs", options: ["size=1k"] },
  ]);
});

test("hooks and groups are added; group 0 is not", () => {
  const edited = edit({
    hooks: [
      { hookName: "poststop", path: "/h", args: ["h"], timeout: undefined },
      { hookName: "poststop", path: "/i" },
    ],
    additionalGids: [0, 44, 100],
  });
  assert.deepEqual(edited.hooks, { poststop: [{ path: "/h", args: ["h"] }, { path: "/i" }] });
  assert.deepEqual(edited.process?.user.additionalGids, [100, 44]);
});

test("what this machine does not support is refused by name", () => {
  assert.throws(() => edit({ netDevices: [{ hostInterfaceName: "a", name: "b" }] }), {
    code: Code.FailedPrecondition,
    message: /netDevices/,
  });
  assert.throws(() => edit({ intelRdt: { closID: "gold" } }), { code: Code.FailedPrecondition, message: /resctrl/ });
  const withResctrl = withCdiEdits(
    spec,
    { ...none, intelRdt: { closID: "gold", l3CacheSchema: undefined } },
    hostFrom({ resctrlMounted: true }),
  );
  assert.deepEqual(withResctrl.linux?.intelRdt, { closID: "gold" });
});
