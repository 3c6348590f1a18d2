// What happens to pods and containers while no daemon runs, or behind its back, is found and told truly.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ContainerState, NamespaceMode, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { linesOf, logSoFar } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { CrashNode } from "./testing/crash-node.ts";
import { assertAgrees, Bystander } from "./testing/crash-rounds.ts";

const { CONTAINER_EXITED: exited, CONTAINER_RUNNING: running } = ContainerState;
const { SANDBOX_READY: ready, SANDBOX_NOTREADY: notReady } = PodSandboxState;
const podPid = { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } };

describe("while the daemon is down or looks away", { skip }, () => {
  let crash: CrashNode;
  let bystander: Bystander;
  before(async () => {
    crash = await CrashNode.start();
    bystander = await Bystander.start(crash);
  });
  after(() => crash[Symbol.asyncDispose]());

  async function untilExited(id: string) {
    await waitFor(async () => (await crash.containerStatus(id)).state === exited, {
      message: `container ${id} is not listed as ended`,
    });
    return crash.containerStatus(id);
  }

  async function monitorOf(id: string): Promise<number> {
    const { pid } = await crash.containerInfo(id);
    return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]);
  }

  /** The rest of the node works, and the pod can be taken down. */
  async function checkAndRemove(podId: string): Promise<void> {
    await bystander.check();
    await crash.removePod(podId);
    await assertAgrees(crash);
  }

  test("containers end with their code and time, for want of memory, and after megabytes of logs", async () => {
    const pod = await crash.runPod();
    const go = join(crash.node.dir, "go");
    const mounts = [{ hostPath: crash.node.dir, containerPath: "/host" }];
    const limit = 15n * 1024n * 1024n;
    const waiting = "while [ ! -e /host/go ]; do sleep 0.02; done; ";
    const run = (script: string, linux = {}) =>
      crash.runContainer(pod, { command: ["sh", "-c", waiting + script], mounts, linux });
    const bad = await run("exit 42");
    const oom = await run("dd if=/dev/zero of=/dev/null bs=20M", {
      resources: { memoryLimitInBytes: limit, memorySwapLimitInBytes: limit },
    });
    // 100,000 lines of 51 bytes.
    const long = await run("seq 100000 | awk '{ printf \"line %045d\\n\", $1 }'");
    const logPath = (await crash.containerStatus(long)).logPath;
    const pids = await Promise.all([bad, oom, long].map(async (id) => (await crash.containerInfo(id)).pid));
    await crash.kill();
    const goneAt = BigInt(Date.now()) * 1_000_000n;
    writeFileSync(go, "");
    await waitFor(() => pids.every((pid) => !existsSync(`/proc/${pid}`)), { timeoutMs: 30_000 });
    const backAt = BigInt(Date.now() + 100) * 1_000_000n;
    await crash.startAgain();
    for (const [id, exitCode, reason] of [
      [bad, 42, "Error"],
      [oom, 137, "OOMKilled"],
      [long, 0, "Completed"],
    ] as const) {
      const status = await crash.containerStatus(id);
      assert.deepEqual([status.state, status.exitCode, status.reason], [exited, exitCode, reason]);
      // File times come from a coarse clock.
      assert.ok(
        status.finishedAt > goneAt - 20_000_000n && status.finishedAt < backAt,
        `${reason}: ended at ${status.finishedAt}`,
      );
    }
    const lines = linesOf(logSoFar(logPath));
    assert.equal(lines.length, 100_000);
    assert.ok(lines.every((line, i) => line === `line ${String(i + 1).padStart(45, "0")}`));
    await assertAgrees(crash);
    await checkAndRemove(pod.id);
  });

  test("a network namespace that somebody removed makes its pod NotReady", async () => {
    const pod = await crash.runPod();
    const id = await crash.runContainer(pod, "sleep 600");
    const { netns } = await crash.podInfo(pod.id);
    await crash.kill();
    execFileSync("umount", [netns]);
    await crash.startAgain();
    assert.equal((await crash.podStatus(pod.id)).state, notReady);
    await crash.call("stopContainer", { containerId: id, timeout: 0n });
    assert.equal((await crash.containerStatus(id)).state, exited);
    await checkAndRemove(pod.id);
  });

  test("a root file system that somebody unmounted does not keep its container from being removed", async () => {
    const pod = await crash.runPod();
    const [id, created] = [
      await crash.runContainer(pod, "sleep 600"),
      await crash.createContainer(pod, crash.node.containerConfig("sleep 600")),
    ];
    const { bundle } = await crash.containerInfo(id);
    await crash.kill();
    for (const each of [id, created]) execFileSync("umount", ["-l", join(bundle, "..", each, "rootfs")]);
    await crash.startAgain();
    // What runs has the file system in a mount namespace of its own.
    assert.equal((await crash.containerStatus(id)).state, running);
    assert.equal((await crash.podStatus(pod.id)).state, ready);
    await crash.removeContainer(id);
    await crash.removeContainer(created);
    await assertAgrees(crash);
    await checkAndRemove(pod.id);
  });

  for (const [when, isDown] of [
    ["down", true],
    ["running", false],
  ] as const) {
    test(`a monitor that is killed while the daemon is ${when} costs its own container only`, async () => {
      const pod = await crash.runPod();
      const [id, other] = [await crash.runContainer(pod, "sleep 600"), await crash.runContainer(pod, "sleep 600")];
      const monitor = await monitorOf(id);
      if (isDown) await crash.kill();
      process.kill(monitor, "SIGKILL");
      if (isDown) await crash.startAgain();
      const { exitCode, reason, message } = await untilExited(id);
      assert.deepEqual([exitCode, reason], [137, "MonitorLost"]);
      assert.match(message, /conmon/);
      assert.equal((await crash.containerStatus(other)).state, running);
      assert.equal((await crash.podStatus(pod.id)).state, ready);
      await assertAgrees(crash);
      await crash.runContainer(pod, "sleep 600");
      await checkAndRemove(pod.id);
    });

    if (isDown)
      test("a monitor that is stopped while the daemon is down costs its own container only", async () => {
        const pod = await crash.runPod();
        const [id, other] = [await crash.runContainer(pod, "sleep 600"), await crash.runContainer(pod, "sleep 600")];
        const { pid } = await crash.containerInfo(id);
        process.kill(await monitorOf(id), "SIGSTOP");
        await crash.kill();
        process.kill(pid, "SIGKILL");
        await crash.startAgain();
        const { exitCode, reason, message } = await untilExited(id);
        assert.deepEqual([exitCode, reason], [137, "MonitorLost"]);
        assert.match(message, /did not report/);
        assert.equal((await crash.containerStatus(other)).state, running);
        await checkAndRemove(pod.id);
      });

    test(`a pod's init that is killed while the daemon is ${when} makes the pod NotReady`, async () => {
      const pod = await crash.runPod({ linux: podPid });
      const id = await crash.runContainer(pod, "sleep 600");
      const { pid } = await crash.podInfo(pod.id);
      if (isDown) await crash.kill();
      process.kill(pid, "SIGKILL");
      if (isDown) await crash.startAgain();
      assert.equal((await untilExited(id)).exitCode, 137);
      await waitFor(async () => (await crash.podStatus(pod.id)).state === notReady, {
        timeoutMs: 5000,
        message: "the pod is still READY",
      });
      await checkAndRemove(pod.id);
    });
  }
});
