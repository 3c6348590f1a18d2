import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { resolveDeviceNode } from "./device-nodes.ts";

const nodesOf = (...nodes: Parameters<typeof resolveDeviceNode>[0][]) => nodes.map(resolveDeviceNode);

test("what a node leaves out is looked up on the machine", () => {
  assert.deepEqual(nodesOf({ path: "/dev/null" }), [
    { path: "/dev/null", permissions: "rwm", type: "c", major: 1, minor: 3, fileMode: 0o666 },
  ]);
  assert.deepEqual(nodesOf({ path: "/dev/x", hostPath: "/dev/zero", permissions: "r", uid: 7, fileMode: 0o600 }), [
    { path: "/dev/x", permissions: "r", uid: 7, type: "c", major: 1, minor: 5, fileMode: 0o600 },
  ]);
});

test("a node that says everything, and a FIFO, need not exist", () => {
  assert.deepEqual(nodesOf({ path: "/dev/gone", type: "b", major: 8, minor: 1 }), [
    { path: "/dev/gone", permissions: "rwm", type: "b", major: 8, minor: 1 },
  ]);
  assert.deepEqual(nodesOf({ path: "/dev/pipe", type: "p" }), [
    { path: "/dev/pipe", permissions: "rwm", type: "p", major: 0, minor: 0 },
  ]);
});

test("the error for a node that does not exist, or is something else, names it", () => {
  const fails = (node: Parameters<typeof resolveDeviceNode>[0], message: RegExp) =>
    assert.throws(() => resolveDeviceNode(node), { code: Code.FailedPrecondition, message });
  fails({ path: "/dev/gone" }, /device node \/dev\/gone: ENOENT/);
  fails({ path: "/dev/null", type: "b" }, /\/dev\/null is of type c, not b/);
  fails({ path: "/tmp" }, /\/tmp is not a device/);
});
