// The daemon is killed while a tool that it started runs, and comes back before that ends.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { skipFor } from "../testing/each-runtime.ts";
import { type Pod, type RuntimeName, ociRuntimes } from "../testing/test-node.ts";
import { CrashNode } from "./testing/crash-node.ts";
import { assertAgrees, Bystander, counterScript } from "./testing/crash-rounds.ts";

/** The daemon needs a few tenths of a second to come back. */
const afterTheDaemonIsBack = "kill -9 $daemon; sleep 1.5";

for (const runtime of [...ociRuntimes, "runsc"] as const) {
  describe(`a daemon with ${runtime} that is killed while it waits for`, { skip: skipFor(runtime) }, () =>
    killedWhileWaiting(runtime),
  );
}

function killedWhileWaiting(runtime: RuntimeName): void {
  let crash: CrashNode;
  let bystander: Bystander;
  let pod: Pod;
  before(async () => {
    crash = await CrashNode.start({ runtime });
    bystander = await Bystander.start(crash);
    pod = await crash.runPod();
  });
  after(() => crash[Symbol.asyncDispose]());

  /** Makes a call in which a tool kills the daemon and goes on by itself; returns when the daemon is back. */
  async function dieIn(tool: string, call: () => Promise<unknown>): Promise<void> {
    crash.trap(tool, afterTheDaemonIsBack);
    await assert.rejects(call());
    assert.ok(!crash.isTrapSet(tool), `${tool} did not run`);
    await crash.untilDead();
    await crash.startAgain();
  }

  if (runtime === ociRuntimes[0]) testPlugins();

  for (const tool of ["conmon create", `${runtime} create`]) {
    test(`${tool} leaves nothing, and the retry makes the container`, async () => {
      const config = crash.node.containerConfig(counterScript);
      await dieIn(tool, () => crash.createContainer(pod, config));
      const containerId = await crash.createContainer(pod, config);
      await crash.call("startContainer", { containerId });
      await crash.untilLogged(containerId, "1");
      await assertAgrees(crash);
      await bystander.check();
      await crash.removeContainer(containerId);
      await assertAgrees(crash);
    });
  }

  test(`${runtime} start tells that the container runs as soon as it does`, async () => {
    const containerId = await crash.createContainer(pod, crash.node.containerConfig(counterScript));
    await dieIn(`${runtime} start`, () => crash.call("startContainer", { containerId }));
    const { state } = await crash.containerStatus(containerId);
    if (state === ContainerState.CONTAINER_CREATED) await crash.call("startContainer", { containerId });
    await crash.untilLogged(containerId, "30");
    assert.equal((await crash.containerStatus(containerId)).state, ContainerState.CONTAINER_RUNNING);
    await assertAgrees(crash);
    await crash.removeContainer(containerId);
    await assertAgrees(crash);
  });

  test(`${runtime} delete leaves nothing, and the retry removes the container`, async () => {
    const containerId = await crash.runContainer(pod, counterScript);
    await dieIn(`${runtime} delete`, () => crash.removeContainer(containerId));
    await crash.removeContainer(containerId);
    await assertAgrees(crash);
    await bystander.check();
  });

  function testPlugins(): void {
    for (const tool of ["bridge ADD", "host-local ADD", "portmap ADD"]) {
      test(`${tool} leaves nothing, and the retry makes the pod`, async () => {
        const config = crash.node.podConfig({ portMappings: [{ containerPort: 80, hostPort: 18083 }] });
        const run = () => crash.call("runPodSandbox", { config, runtimeHandler: "" });
        await dieIn(tool, run);
        const { podSandboxId } = await run();
        await assertAgrees(crash);
        await bystander.check();
        await crash.removePod(podSandboxId);
        await assertAgrees(crash);
      });
    }

    for (const tool of ["bridge DEL", "host-local DEL", "portmap DEL"]) {
      test(`${tool} leaves nothing, and the retry stops the pod`, async () => {
        const { id } = await crash.runPod({ portMappings: [{ containerPort: 80, hostPort: 18083 }] });
        await dieIn(tool, () => crash.call("stopPodSandbox", { podSandboxId: id }));
        await crash.removePod(id);
        await assertAgrees(crash);
        await bystander.check();
      });
    }
  }
}
