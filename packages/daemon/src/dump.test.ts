import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { type TestContext, test } from "node:test";
import { clientOf } from "@keelson/engine/testing/fake-client.ts";
import { FakeNode } from "@keelson/engine/testing/fake-node.ts";
import { mockTime, passTime } from "@keelson/engine/testing/pass-time.ts";
import { writeDump } from "./dump.ts";

function newNode(t: TestContext) {
  mockTime(t.mock);
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  return { node, client: clientOf(node) };
}

test("a dump shows what hangs, where, since when, and how many wait for it; only its owner can read it", async (t) => {
  const { node, client } = newNode(t);
  const podId = await client.runPod({ annotations: { token: "hunter2" } });
  node.fate = (effect) => (effect === "network detach" ? "hangs" : "works");
  const stop = client.stopPod(podId);
  await node.quiet();
  const remove = client.removePod(podId);
  await node.quiet();
  const file = writeDump(node.deps);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const text = readFileSync(file, "utf8");
  const dump = JSON.parse(text) as {
    operations: { call: string; stage: string }[];
    locks: { podSandboxId: string; waiting: number; heldMs: number }[];
    pods: { id: string; state: string }[];
  };
  assert.deepEqual(
    dump.operations.map(({ call, stage }) => [call, stage]),
    [
      ["StopPodSandbox", "detach the network"],
      ["RemovePodSandbox", "wait for other calls on the pod"],
    ],
  );
  assert.deepEqual(
    dump.locks.map(({ podSandboxId, waiting }) => [podSandboxId, waiting]),
    [[podId, 1]],
  );
  assert.ok(dump.locks[0]!.heldMs >= 0);
  assert.deepEqual(
    dump.pods.map(({ id, state }) => [id, state]),
    [[podId, "stopping"]],
  );
  assert.ok(!text.includes("hunter2"), "what clients sent is not in it");
  node.fate = () => "works";
  node.release();
  await passTime(t.mock.timers, Promise.all([stop, remove]));
});

test("only the last five dumps are kept", (t) => {
  const { node } = newNode(t);
  let atNs = 1_000_000_000_000n;
  const deps = { ...node.deps, nowNs: () => (atNs += 1_000_000_000n) };
  const files = Array.from({ length: 8 }, () => writeDump(deps));
  const kept = readdirSync(node.paths.state).filter((name) => name.startsWith("dump-"));
  assert.deepEqual(
    kept.sort(),
    files.slice(-5).map((file) => file.slice(file.lastIndexOf("/") + 1)),
  );
});
