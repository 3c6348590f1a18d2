import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { assert as check, jsonValue, property } from "fast-check";
import { parseCdiSpec } from "./spec.ts";

const gpu = (over: object = {}) => ({
  cdiVersion: "0.6.0",
  kind: "vendor.com/gpu",
  devices: [{ name: "first", containerEdits: { env: ["GPU=0"] } }],
  ...over,
});
const edited = (containerEdits: object, cdiVersion = "1.1.0") => gpu({ cdiVersion, containerEdits });

test("a specification with everything is read", () => {
  const everything = gpu({
    cdiVersion: "1.1.0",
    annotations: { a: "b" },
    containerEdits: {
      env: ["A=", "B=c=d"],
      deviceNodes: [
        {
          path: "/dev/a",
          hostPath: "/dev/b",
          type: "c",
          major: 1,
          minor: 2,
          fileMode: 0o660,
          permissions: "rw",
          uid: 3,
          gid: 4,
        },
      ],
      netDevices: [{ hostInterfaceName: "ib0", name: "net1" }],
      mounts: [{ hostPath: "/lib/x", containerPath: "/lib/x", type: "none", options: ["ro", "bind"] }],
      hooks: [{ hookName: "createContainer", path: "/bin/hook", args: ["hook"], env: ["X=1"], timeout: 5 }],
      additionalGids: [0, 44],
      intelRdt: {
        closID: "gold",
        l3CacheSchema: "L3:0=f",
        memBwSchema: "MB:0=50",
        schemata: ["L2:0=f"],
        enableMonitoring: true,
      },
    },
  });
  assert.deepEqual(parseCdiSpec(everything), everything);
});

for (const [value, words] of [
  [null, /^it must be Object, not null/],
  [[], /^cdiVersion is missing|^it must be/],
  ["text", /^it must be Object/],
  [gpu({ cdiVersion: undefined }), /^cdiVersion is missing/],
  [gpu({ cdiVersion: "9.9.9" }), /^cdiVersion must be .*"1\.1\.0".*not "9\.9\.9"/],
  [gpu({ cdiVersion: "v0.6.0" }), /^cdiVersion /],
  [gpu({ kind: "gpu" }), /^kind must be vendor\.com\/class/],
  [gpu({ kind: "vendor.com/gpu/x" }), /^kind /],
  [gpu({ kind: `vendor.com/${"x".repeat(64)}` }), /^kind /],
  [gpu({ devices: [] }), /^devices must have at least one/],
  [gpu({ devices: {} }), /^devices must be Array/],
  [gpu({ devices: [{ name: "0" }] }), /^devices\.0\.containerEdits is missing/],
  [gpu({ devices: [{ name: "a/b", containerEdits: {} }] }), /^devices\.0\.name /],
  [gpu({ devices: ["0", "0"].map((name) => ({ name, containerEdits: {} })) }), /^devices has "0" twice/],
  [gpu({ extra: 1 }), /^extra is not a key/],
  [
    edited({ deviceNodes: [{ path: "/dev/a", containerPath: "/x" }] }),
    /^containerEdits\.deviceNodes\.0\.containerPath is not a key/,
  ],
  [edited({ deviceNodes: [{ path: "dev/a" }] }), /^containerEdits\.deviceNodes\.0\.path must be an absolute path/],
  [edited({ deviceNodes: [{ path: "/dev/a", permissions: "x" }] }), /permissions must be made of r, w and m/],
  [edited({ deviceNodes: [{ path: "/dev/a", type: "z" }] }), /type must be/],
  [edited({ deviceNodes: [{ path: "/dev/a", major: -1 }] }), /major /],
  [edited({ deviceNodes: [{ path: "/dev/a", major: 1.5 }] }), /major /],
  [edited({ deviceNodes: [{ path: "/dev/a", uid: 2 ** 32 }] }), /uid /],
  [edited({ env: ["=x"] }), /^containerEdits\.env\.0 must be NAME=VALUE/],
  [edited({ env: ["A=\0"] }), /NUL/],
  [edited({ mounts: [{ hostPath: "", containerPath: "/x" }] }), /hostPath must not be empty/],
  [edited({ mounts: [{ hostPath: "/x", containerPath: "/x", options: "ro" }] }), /options must be Array/],
  [edited({ hooks: [{ hookName: "later", path: "/x" }] }), /hookName must be/],
  [edited({ hooks: [{ hookName: "poststop", path: "x" }] }), /path must be an absolute path/],
  [edited({ hooks: [{ hookName: "poststop", path: "/x", timeout: 0 }] }), /timeout /],
  [edited({ additionalGids: ["44"] }), /additionalGids\.0 must be number/],
  [edited({ intelRdt: { closID: ".." } }), /closID must be a file's name/],
  [edited({ intelRdt: { enableCMT: true } }), /ended with 1\.0\.0/],
  [edited({ netDevices: [{ hostInterfaceName: "a/b", name: "x" }] }), /network interface/],
] as const) {
  test(`refused by its key: ${JSON.stringify(value).slice(0, 160)}`, () => {
    assert.throws(
      () => parseCdiSpec(value),
      (e: unknown) =>
        e instanceof StatusError && e.code === Code.InvalidArgument && (assert.match(e.message, words), true),
    );
  });
}

test("features are refused in files of an earlier version", () => {
  for (const [before, since, value] of [
    ["0.3.0", "0.4.0", edited({ mounts: [{ hostPath: "/x", containerPath: "/x", type: "none" }] })],
    ["0.4.0", "0.5.0", edited({ deviceNodes: [{ path: "/dev/a", hostPath: "/dev/b" }] })],
    ["0.4.0", "0.5.0", gpu({ devices: [{ name: "0", containerEdits: {} }] })],
    ["0.5.0", "0.6.0", gpu({ annotations: { a: "b" } })],
    ["0.5.0", "0.6.0", gpu({ kind: "vendor.com/gpu.small" })],
    ["0.6.0", "0.7.0", edited({ additionalGids: [1] })],
    ["0.6.0", "0.7.0", edited({ intelRdt: {} })],
    ["1.0.0", "1.1.0", edited({ netDevices: [{ hostInterfaceName: "a", name: "b" }] })],
    ["1.0.0", "1.1.0", edited({ intelRdt: { schemata: [] } })],
  ] as const) {
    parseCdiSpec({ ...value, cdiVersion: since });
    assert.throws(() => parseCdiSpec({ ...value, cdiVersion: before }), {
      message: new RegExp(`cdiVersion is ${before}, but .* needs ${since}`),
    });
  }
  parseCdiSpec(edited({ intelRdt: { enableCMT: true } }, "0.7.0"));
});

test("whatever is in a file, the error is a StatusError", () => {
  check(
    property(jsonValue(), jsonValue(), (a, b) => {
      for (const value of [
        a,
        gpu({ devices: a }),
        gpu({ containerEdits: a }),
        edited({ deviceNodes: [a], mounts: [b] }),
        edited({ hooks: a, env: b }),
      ]) {
        try {
          parseCdiSpec(value);
        } catch (error) {
          assert.ok(error instanceof StatusError && error.message.length < 1000, String(error));
        }
      }
    }),
  );
});
