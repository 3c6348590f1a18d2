import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Code, messageOf } from "@keelson/base/status.ts";
import { hostFrom } from "@keelson/plan/testing/plan-fixture.ts";
import { recover } from "../recovery/recovery.ts";
import { clientOf } from "../testing/fake-client.ts";
import { FakeNode } from "../testing/fake-node.ts";
import { updateContainerResources } from "./update-container-resources.ts";

const ownPid = { linux: { security_context: { namespace_options: { pid: "CONTAINER" } } } };
const limited = { linux: { resources: { memory_limit_in_bytes: "100000000", cpu_shares: "512" } } };

async function withContainer(t: TestContext, config: object = limited) {
  const node = new FakeNode();
  t.after(() => node[Symbol.dispose]());
  const client = clientOf(node);
  const podId = await client.runPod(ownPid);
  const id = await client.createContainer(podId, config);
  await client.startContainer(id);
  await node.quiet();
  node.effects.length = 0;
  return { node, client, podId, id };
}

test("fields that are set change, the others stay, and both survive a restart", async (t) => {
  const { node, client, id } = await withContainer(t);
  await client.updateContainer(id, { cpu_quota: "50000" });
  assert.deepEqual(node.limits.get(id), {
    cpu: { shares: 512, quota: 50_000 },
    memory: { limit: 100_000_000, swap: 100_000_000 },
  });
  node.restart();
  await recover(node.deps);
  const { resources } = await client.containerStatus(id);
  assert.deepEqual(
    [resources?.linux?.cpuQuota, resources?.linux?.cpuShares, resources?.linux?.memoryLimitInBytes],
    [50_000n, 512n, 100_000_000n],
  );
});

test("a retry does the same again", async (t) => {
  const { node, client, id } = await withContainer(t);
  await client.updateContainer(id, { memory_limit_in_bytes: "200000000" });
  const once = [await client.containerStatus(id), node.limits.get(id)];
  await client.updateContainer(id, { memory_limit_in_bytes: "200000000" });
  assert.deepEqual([await client.containerStatus(id), node.limits.get(id)], once);
});

test("a created container can be updated, an exited one cannot", async (t) => {
  const { node, client, podId, id } = await withContainer(t);
  const created = await client.createContainer(podId, { metadata: { name: "other" } });
  await client.updateContainer(created, { cpu_shares: "2" });
  assert.deepEqual(node.limits.get(created), { cpu: { shares: 2 } });
  node.exit(id, 1);
  await node.quiet();
  await assert.rejects(client.updateContainer(id, { cpu_shares: "2" }), {
    code: Code.FailedPrecondition,
    message: /exited/,
  });
  await assert.rejects(client.updateContainer("f".repeat(64), {}), { code: Code.NotFound });
  await assert.rejects(client.updateContainer("", {}), { code: Code.InvalidArgument });
});

test("bad values, Windows and less memory than is in use are refused before anything happens", async (t) => {
  const { node, client, id } = await withContainer(t);
  const before = await client.containerStatus(id);
  const refused = async (call: Promise<unknown>, code: Code, message: RegExp) => {
    await assert.rejects(call, { code, message });
    assert.deepEqual(node.effects, []);
  };
  await refused(client.updateContainer(id, { cpu_quota: "-7" }), Code.InvalidArgument, /^linux\.cpu_quota /);
  await refused(client.updateContainer(id, { oom_score_adj: "1001" }), Code.InvalidArgument, /^linux\.oom_score_adj /);
  await refused(
    client.updateContainer(id, { memory_swap_limit_in_bytes: "5" }),
    Code.InvalidArgument,
    /^linux\.memory_swap_limit_in_bytes /,
  );
  const windows = { containerId: id, linux: undefined, windows: {} as never, annotations: {} };
  await refused(
    updateContainerResources(node.deps, windows, AbortSignal.timeout(1000)),
    Code.InvalidArgument,
    /^windows /,
  );
  const annotations = {
    containerId: id,
    linux: undefined,
    windows: undefined,
    annotations: { a: "x".repeat(20_000_000) },
  };
  await refused(
    updateContainerResources(node.deps, annotations, AbortSignal.timeout(1000)),
    Code.InvalidArgument,
    /^annotations /,
  );
  node.memoryInUse = 60_000_000;
  await refused(
    client.updateContainer(id, { memory_limit_in_bytes: "50000000" }),
    Code.FailedPrecondition,
    /50000000.*60000000/,
  );
  assert.deepEqual(await client.containerStatus(id), before);
  await client.updateContainer(id, { cpu_shares: "3" });
});

test("oom_score_adj goes to the processes only when it changes", async (t) => {
  const { node, client, id } = await withContainer(t);
  await client.updateContainer(id, { cpu_shares: "3" });
  assert.equal(node.oomScores.get(id), undefined);
  await client.updateContainer(id, { oom_score_adj: "500" });
  assert.equal(node.oomScores.get(id), 500);
});

for (const fate of ["fails", "done and fails"] as const) {
  test(`whichever effect ${fate}, the limits are those from before, and the same request then works`, async (t) => {
    const update = { memory_limit_in_bytes: "200000000", cpu_quota: "-1", oom_score_adj: "500" };
    const first = await withContainer(t);
    await first.client.updateContainer(first.id, update);
    const effects = [...first.node.effects];
    assert.ok(effects.length >= 4, effects.join());
    for (const [i, effect] of effects.entries()) {
      const { node, client, id } = await withContainer(t);
      const before = await client.containerStatus(id);
      node.fate = (_, index) => (index === i ? fate : "works");
      await assert.rejects(client.updateContainer(id, update), (error: unknown) =>
        messageOf(error).includes(`injected fault in ${effect}`),
      );
      assert.deepEqual(await client.containerStatus(id), before, effect);
      assert.equal(node.deps.containers.get(id)?.resizing, undefined, effect);
      const limits = node.limits.get(id);
      assert.ok(limits === undefined || limits.memory?.limit === 100_000_000, effect);
      assert.notEqual(node.oomScores.get(id), 500, effect);
      node.fate = () => "works";
      await client.updateContainer(id, update);
      assert.equal(node.limits.get(id)?.memory?.limit, 200_000_000);
    }
  });
}

test("the next daemon reverts an update that was cut off", async (t) => {
  for (const killedAt of ["runtime update", "container-host set-oom-score-adj", "database put containers"]) {
    const { node, client, id } = await withContainer(t);
    node.fate = (effect, index) =>
      effect === killedAt && index > 0
        ? "done and fails"
        : index > 0 && node.effects.includes(killedAt)
          ? "fails"
          : "works";
    await assert.rejects(client.updateContainer(id, { memory_limit_in_bytes: "200000000", oom_score_adj: "500" }));
    node.fate = () => "works";
    node.restart();
    await recover(node.deps);
    assert.equal((await client.containerStatus(id)).resources?.linux?.memoryLimitInBytes, 100_000_000n, killedAt);
    assert.equal(node.limits.get(id)?.memory?.limit, 100_000_000, killedAt);
    assert.equal(node.deps.containers.get(id)?.resizing, undefined);
  }
});

test("a score that this daemon must not set is raised, with one warning", async (t) => {
  const { node, client, podId, id } = await withContainer(t);
  Object.assign(node.deps, { host: hostFrom({ oomScoreAdjMin: -500 }) });
  await client.updateContainer(id, { oom_score_adj: "-900" });
  assert.equal(node.oomScores.get(id), -500);
  await client.createContainer(podId, { metadata: { name: "other" }, linux: { resources: { oom_score_adj: "-998" } } });
  assert.equal(node.logged.filter((text) => text.includes("oom_score_adj")).length, 1);
});

test("a pod's resources are checked, and recorded for its status", async (t) => {
  const { node, client, podId } = await withContainer(t);
  await client.updatePod(podId, { overhead: { memory_limit_in_bytes: "5" }, resources: { cpu_shares: "7" } });
  node.restart();
  const pod = node.deps.pods.get(podId);
  assert.deepEqual([pod?.overhead?.memoryLimitInBytes, pod?.resources?.cpuShares], [5n, 7n]);
  await client.updatePod(podId, { resources: { cpu_shares: "8" } });
  assert.deepEqual(
    [node.deps.pods.get(podId)?.overhead?.memoryLimitInBytes, node.deps.pods.get(podId)?.resources?.cpuShares],
    [5n, 8n],
  );
  await assert.rejects(client.updatePod(podId, { resources: { cpu_quota: "-9" } }), {
    code: Code.InvalidArgument,
    message: /^resources\.cpu_quota /,
  });
  await assert.rejects(client.updatePod("f".repeat(64), {}), { code: Code.NotFound });
  await client.stopPod(podId);
  await assert.rejects(client.updatePod(podId, {}), { code: Code.FailedPrecondition });
});
