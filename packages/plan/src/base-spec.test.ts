import assert from "node:assert/strict";
import { test } from "node:test";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { parseBaseSpec, withBaseSpec } from "./base-spec.ts";

const own: Spec = {
  ociVersion: "1.0.2",
  process: {
    cwd: "/",
    user: { uid: 1000, gid: 1000 },
    args: ["app"],
    env: ["PATH=/bin", "A=own"],
    noNewPrivileges: false,
    rlimits: [{ type: "RLIMIT_NOFILE", soft: 10, hard: 10 }],
  },
  root: { path: "rootfs" },
  mounts: [
    { destination: "/proc", type: "proc" },
    { destination: "/data/sub", type: "bind", source: "/x" },
  ],
  hooks: { poststop: [{ path: "/own" }] },
  annotations: { a: "own", b: "own" },
  linux: {
    namespaces: [{ type: "mount" }],
    resources: { memory: { limit: 5 }, devices: [{ allow: false }] },
    devices: [{ type: "c", path: "/dev/fuse", major: 10, minor: 229 }],
    maskedPaths: ["/proc/kcore"],
  },
};

const base = parseBaseSpec(
  JSON.stringify({
    ociVersion: "1.2.0",
    hostname: "not-taken",
    process: {
      terminal: true,
      user: { uid: 0, gid: 0 },
      args: ["sh"],
      cwd: "/tmp",
      env: ["A=base", "B=base"],
      noNewPrivileges: true,
      rlimits: [
        { type: "RLIMIT_NOFILE", soft: 1, hard: 1 },
        { type: "RLIMIT_CORE", soft: 0, hard: 0 },
      ],
      ioPriority: { class: "IOPRIO_CLASS_BE" },
    },
    root: { path: "/not-taken", readonly: true },
    mounts: [
      { destination: "/proc/", type: "tmpfs" },
      { destination: "/data", type: "tmpfs" },
    ],
    hooks: { poststop: [{ path: "/base" }], createRuntime: [{ path: "/base", args: ["x"] }] },
    annotations: { b: "base", c: "base" },
    linux: {
      namespaces: [{ type: "network" }],
      uidMappings: [{ containerID: 0, hostID: 0, size: 1 }],
      cgroupsPath: "/not-taken",
      sysctl: { "net.core.somaxconn": "1024" },
      resources: { memory: { limit: 1, swappiness: 0 }, devices: [{ allow: true }], pids: { limit: 100 } },
      devices: [
        { type: "c", path: "/dev/fuse", major: 1, minor: 1 },
        { type: "c", path: "/dev/kvm", major: 10, minor: 232 },
      ],
      maskedPaths: [],
    },
  }),
);

test("the container's own values win; those that it does not have come from the base", () => {
  assert.deepEqual(withBaseSpec(own, base), {
    ociVersion: "1.0.2",
    process: {
      ioPriority: { class: "IOPRIO_CLASS_BE" },
      noNewPrivileges: false,
      cwd: "/",
      user: { uid: 1000, gid: 1000 },
      args: ["app"],
      env: ["B=base", "PATH=/bin", "A=own"],
      rlimits: [
        { type: "RLIMIT_CORE", soft: 0, hard: 0 },
        { type: "RLIMIT_NOFILE", soft: 10, hard: 10 },
      ],
    },
    root: { path: "rootfs" },
    mounts: [
      { destination: "/data", type: "tmpfs" },
      { destination: "/proc", type: "proc" },
      { destination: "/data/sub", type: "bind", source: "/x" },
    ],
    hooks: { createRuntime: [{ path: "/base", args: ["x"] }], poststop: [{ path: "/base" }, { path: "/own" }] },
    annotations: { a: "own", b: "own", c: "base" },
    linux: {
      namespaces: [{ type: "mount" }],
      sysctl: { "net.core.somaxconn": "1024" },
      resources: { memory: { limit: 5, swappiness: 0 }, devices: [{ allow: false }], pids: { limit: 100 } },
      devices: [
        { type: "c", path: "/dev/kvm", major: 10, minor: 232 },
        { type: "c", path: "/dev/fuse", major: 10, minor: 229 },
      ],
      maskedPaths: ["/proc/kcore"],
    },
  } satisfies Spec);
});

test("an empty base changes nothing", () => {
  assert.deepEqual(withBaseSpec(own, parseBaseSpec("{}")), own);
});

test("a file that is not a spec is refused with the property that is wrong", () => {
  for (const [text, message] of [
    ["{", /JSON/],
    ["[]", /the file: /],
    [JSON.stringify({ mounts: [{ destination: "data" }] }), /mounts\.0\.destination: must be an absolute path/],
    [JSON.stringify({ hooks: { poststart: [{ args: [] }] } }), /hooks\.poststart\.0\.path/],
    [JSON.stringify({ hooks: { later: [] } }), /hooks\.later/],
    [JSON.stringify({ process: { env: "A=b" } }), /process\.env/],
    [JSON.stringify({ linux: { sysctl: { a: 1 } } }), /linux\.sysctl\.a/],
  ] as const) {
    assert.throws(() => parseBaseSpec(text), message, text);
  }
});
