import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { resolveCdiEdits } from "./device-nodes.ts";

const nodesOf = (...deviceNodes: NonNullable<Parameters<typeof resolveCdiEdits>[0][number]["deviceNodes"]>) => resolveCdiEdits([{ deviceNodes }]).deviceNodes;

test("what a node does not say is looked up on the machine", () => {
  assert.deepEqual(nodesOf({ path: "/dev/null" }), [{ path: "/dev/null", permissions: "rwm", type: "c", major: 1, minor: 3, fileMode: 0o666 }]);
  assert.deepEqual(nodesOf({ path: "/dev/x", hostPath: "/dev/zero", permissions: "r", uid: 7, fileMode: 0o600 }), [{ path: "/dev/x", permissions: "r", uid: 7, type: "c", major: 1, minor: 5, fileMode: 0o600 }]);
});

test("a node that says all, and a FIFO, need not be there", () => {
  assert.deepEqual(nodesOf({ path: "/dev/gone", type: "b", major: 8, minor: 1 }), [{ path: "/dev/gone", permissions: "rwm", type: "b", major: 8, minor: 1 }]);
  assert.deepEqual(nodesOf({ path: "/dev/pipe", type: "p" }), [{ path: "/dev/pipe", permissions: "rwm", type: "p", major: 0, minor: 0 }]);
});

test("a node or a mount's source that is not there or is another thing is named", () => {
  const fails = (edits: Parameters<typeof resolveCdiEdits>[0][number], message: RegExp) => assert.throws(() => resolveCdiEdits([edits]), { code: Code.FailedPrecondition, message });
  fails({ deviceNodes: [{ path: "/dev/gone" }] }, /device node \/dev\/gone: ENOENT/);
  fails({ deviceNodes: [{ path: "/dev/null", type: "b" }] }, /\/dev\/null is of type c, not b/);
  fails({ deviceNodes: [{ path: "/tmp" }] }, /\/tmp is not a device/);
  fails({ mounts: [{ hostPath: "/no/such/lib", containerPath: "/lib" }] }, /mount source \/no\/such\/lib: ENOENT/);
});

test("edits of several devices are joined in order; the last intelRdt counts", () => {
  const edits = resolveCdiEdits([{ env: ["A=1"], intelRdt: { closID: "a" } }, { env: ["B=2"], additionalGids: [5] }, { intelRdt: { closID: "b" } }]);
  assert.deepEqual([edits.env, edits.additionalGids, edits.intelRdt], [["A=1", "B=2"], [5], { closID: "b" }]);
});
