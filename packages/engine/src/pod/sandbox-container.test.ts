import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { recover } from "../recovery/recovery.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";

const sharedPid = { linux: { security_context: { namespace_options: { pid: "POD" } } } };

/** A pod that is a container, with a running container in it. */
async function podInContainer(t: TestContext) {
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const client = clientOf(node);
  const podId = await client.runPod(sharedPid, "kata");
  const id = await client.createContainer(podId);
  await client.startContainer(id);
  await node.quiet();
  const stateOf = async () => (await client.podStatus(podId)).state;
  return { node, client, podId, id, stateOf };
}

test("a pod of a handler with sandboxes is a container, after its network and before its containers, and has no init", async (t) => {
  const { node, podId, id } = await podInContainer(t);
  const steps = node.effects.filter((effect) => /network attach|runtime|start-init/.test(effect));
  assert.deepEqual(steps, [
    "network attach",
    "runtime create",
    "runtime start",
    "runtime watch",
    "runtime create",
    "runtime watch",
    "runtime start",
  ]);
  assert.deepEqual(node.running("main"), [podId, id]);
  assert.deepEqual(node.running("init"), []);
});

test("when the sandbox dies, its pod is stopped with its containers, and can be removed", async (t) => {
  const { node, client, podId, stateOf } = await podInContainer(t);
  node.exit(podId, 137);
  await node.quiet();
  assert.equal(await stateOf(), PodSandboxState.SANDBOX_NOTREADY);
  assert.match(node.logged.join("\n"), /the sandbox of a pod has ended; stopping the pod/);
  await client.removePod(podId);
  await node.quiet();
  assert.deepEqual(node.left(), []);
});

test("the next daemon watches a sandbox that is alive, and stops the pod of one that has died in the meantime", async (t) => {
  const { node, client, podId, id, stateOf } = await podInContainer(t);
  await recover(node.restart());
  assert.equal(await stateOf(), PodSandboxState.SANDBOX_READY);
  assert.deepEqual(node.running("main"), [podId, id]);
  node.exit(podId, 0);
  await node.quiet();
  assert.equal(await stateOf(), PodSandboxState.SANDBOX_NOTREADY);

  const other = await client.runPod(
    { metadata: { name: "other", namespace: "default", uid: "u2", attempt: 0 } },
    "kata",
  );
  node.forgetListeners();
  node.exit(other, 0);
  await recover(node.restart());
  assert.equal((await client.podStatus(other)).state, PodSandboxState.SANDBOX_NOTREADY);
});

test("a sandbox whose pod has no record is ended", async (t) => {
  const { node, podId } = await podInContainer(t);
  node.db.exec("DELETE FROM pods; DELETE FROM containers");
  await recover(node.restart());
  assert.ok(!node.running("main").includes(podId));
});
