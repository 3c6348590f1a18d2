import assert from "node:assert/strict";
import { test } from "node:test";
import { linesOf } from "./testing/cri-log.ts";
import { skipGvisor } from "./testing/gvisor.ts";
import { TestNode } from "./testing/test-node.ts";

test("gVisor", { skip: skipGvisor }, async (t) => {
  await using node = await TestNode.start({ runtime: "runsc" });

  await t.test("several containers run in one sandbox, with output, exit code and stop signal of each", async () => {
    const pod = await node.runPod();
    const first = await node.runContainer(pod, "trap 'echo stopping; exit 3' TERM; dmesg; echo one; while :; do sleep 0.1; done");
    const second = await node.runContainer(pod, "echo two; echo wrong >&2; exit 7");
    const { exitCode, reason } = await node.untilExited(second);
    assert.deepEqual([exitCode, reason], [7, "Error"]);
    assert.deepEqual((await node.log(second)).map(({ stream, text }) => `${stream} ${text}`).sort(), ["stderr wrong", "stdout two"]);
    await node.untilLogged(first, "one");
    assert.match(linesOf(await node.log(first)).join("\n"), /Starting gVisor/);
    await node.stopContainer(first, 10);
    assert.equal((await node.containerStatus(first)).exitCode, 3);
    await node.untilLogged(first, "stopping");
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });
});
