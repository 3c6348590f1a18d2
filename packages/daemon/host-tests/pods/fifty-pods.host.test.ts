// A node full of pods, with a restart in the middle.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { ContainerState, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { linesOf, logSoFar, parseLog } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { type Pod, TestNode } from "../testing/test-node.ts";

const count = 50;

/** Calls `body` for each, `width` at a time. */
async function severalAtATime<T>(
  items: readonly T[],
  width: number,
  body: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < items.length) {
      const index = next++;
      await body(items[index]!, index);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
}

test("fifty pods come up, run and log through a restart of the daemon, and go without a trace", { skip }, async () => {
  await using node = await TestNode.start();
  const before = node.leftBehind(0);
  const pods: { pod: Pod; id: string; logPath: string }[] = [];
  await severalAtATime(Array.from({ length: count }), 6, async (_, i) => {
    const runtimeHandler = i % 5 === 0 ? "runc" : "crun";
    const portMappings = i % 10 === 0 ? [{ containerPort: 80, hostPort: 13_000 + i }] : [];
    const pod = await node.runPod({ portMappings, labels: { n: String(i) } }, runtimeHandler);
    const id = await node.runContainer(pod, "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done");
    pods.push({ pod, id, logPath: (await node.containerStatus(id)).logPath });
  });
  const lengths = () => pods.map(({ logPath }) => logSoFar(logPath).length);
  const untilAllLogged = async (more: number, message: string) => {
    const was = lengths();
    await waitFor(() => lengths().every((length, i) => length >= was[i]! + more), { message });
  };
  await untilAllLogged(1, "a container does not log");
  const ips = new Set(await Promise.all(pods.map(async ({ pod }) => (await node.podStatus(pod.id)).network!.ip)));
  assert.equal(ips.size, count);
  const containersBefore = await node.call("listContainers", { filter: undefined });

  await node.stop();
  await untilAllLogged(3, "a container does not log while the daemon is down");
  await node.startAgain();
  await untilAllLogged(1, "a container does not log after the restart");

  const { items } = await node.call("listPodSandbox", { filter: undefined });
  assert.equal(items.filter((pod) => pod.state === PodSandboxState.SANDBOX_READY).length, count);
  const containersAfter = await node.call("listContainers", { filter: undefined });
  const byId = (list: typeof containersAfter) => list.containers.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  assert.deepEqual(byId(containersAfter), byId(containersBefore));
  assert.ok(containersAfter.containers.every((c) => c.state === ContainerState.CONTAINER_RUNNING));

  await severalAtATime(pods, 6, async ({ pod, id }, i) => {
    // In the ways in which a kubelet goes about it.
    if (i % 3 !== 0) await node.stopContainer(id, 0);
    if (i % 3 === 2) await node.removeContainer(id);
    await node.removePod(pod.id);
  });
  for (const { logPath } of pods) {
    const lines = linesOf(parseLog(readFileSync(logPath, "utf8")));
    assert.deepEqual(
      lines,
      lines.map((_, i) => String(i + 1)),
    );
  }
  const empty = await Promise.all([
    node.call("listPodSandbox", { filter: undefined }),
    node.call("listContainers", { filter: undefined }),
  ]);
  assert.deepEqual(empty, [{ items: [] }, { containers: [] }]);
  assert.deepEqual(node.leftBehind(), before);
  assert.deepEqual(node.remains(), []);
});
