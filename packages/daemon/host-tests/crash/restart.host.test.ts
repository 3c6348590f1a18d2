// The daemon ends and comes back: what runs goes on, what ended is told truly.
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ContainerState, NamespaceMode, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { linesOf, type LogEntry, logSoFar, parseLog } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { eachRuntime, skipFor, testFor } from "../testing/each-runtime.ts";
import { type Pod, TestNode } from "../testing/test-node.ts";

const counter = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
const podPid = { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } };

/** Every number from 1 on, each once, in order and in the order of time. */
function assertCounted(entries: readonly LogEntry[]): void {
  const lines = linesOf(entries);
  assert.deepEqual(
    lines,
    lines.map((_, i) => String(i + 1)),
  );
  assert.ok(
    entries.every((entry, i) => i === 0 || entries[i - 1]!.timeNs <= entry.timeNs),
    "times go forward",
  );
}

for (const [runtime, signal, afterMs] of [
  ["crun", "SIGTERM", 40],
  ["crun", "SIGKILL", 20],
  ["runc", "SIGKILL", 70],
] as const) {
  describe(`a daemon with ${runtime} that ends with ${signal}`, { skip: skipFor(runtime) }, () => {
    let node: TestNode;
    before(async () => {
      node = await TestNode.start({ runtime });
    });
    after(() => node[Symbol.asyncDispose]());
    const end = () => (signal === "SIGTERM" ? node.stop() : node.kill(signal));

    test("finds running containers running, their logs whole and their exits watched", async () => {
      const pod = await node.runPod();
      const counting = await node.runContainer(pod, counter);
      const stopped = await node.runContainer(pod, "trap 'exit 5' TERM; echo up; while :; do sleep 0.02; done");
      await node.untilLogged(stopped, "up");
      const created = await node.createContainer(pod, "echo started later");
      const { logPath, ...before } = await node.containerStatus(counting);
      const info = await node.containerInfo(counting);
      const podBefore = await node.podStatus(pod.id);
      const imagesBefore = await node.call("listImages", { filter: undefined });
      await end();
      const loggedAtEnd = linesOf(logSoFar(logPath)).length;
      await waitFor(() => linesOf(logSoFar(logPath)).length > loggedAtEnd + 10, {
        message: "nothing is logged while the daemon is down",
      });
      await node.startAgain();

      assert.deepEqual({ logPath, ...before }, await node.containerStatus(counting));
      assert.deepEqual(await node.containerInfo(counting), info);
      assert.deepEqual(await node.podStatus(pod.id), podBefore);
      assert.deepEqual(await node.call("listImages", { filter: undefined }), imagesBefore);
      assert.equal((await node.containerStatus(created)).state, ContainerState.CONTAINER_CREATED);

      await node.startContainer(created);
      const { exitCode, reason } = await node.untilExited(created);
      assert.deepEqual([exitCode, reason], [0, "Completed"]);
      await node.stopContainer(stopped, 10);
      assert.equal((await node.containerStatus(stopped)).exitCode, 5);
      assert.equal(await node.output(counting, "echo inside"), "inside\n");
      await node.call("reopenContainerLog", { containerId: counting });
      process.kill((await node.containerInfo(counting)).pid, "SIGKILL"); // by nobody we know
      const killed = await node.untilExited(counting);
      assert.deepEqual([killed.exitCode, killed.reason], [137, "Error"]);
      assertCounted(await node.log(counting));
      await node.removePod(pod.id);
    });

    test("tells the real code and time of what ended while it was down", async () => {
      const pod = await node.runPod();
      const go = join(node.dir, "go");
      const mounts = [{ hostPath: node.dir, containerPath: "/host" }];
      const limit = 15n * 1024n * 1024n;
      const waiting = "while [ ! -e /host/go ]; do sleep 0.02; done; ";
      const run = (command: string, linux = {}) =>
        node.runContainer(pod, { command: ["sh", "-c", waiting + command], mounts, linux });
      const good = await run("echo last");
      const bad = await run("echo last; exit 42");
      const oom = await run("echo last; dd if=/dev/zero of=/dev/null bs=20M", {
        resources: { memoryLimitInBytes: limit, memorySwapLimitInBytes: limit },
      });
      const logs = await Promise.all([good, bad, oom].map(async (id) => (await node.containerStatus(id)).logPath));
      const pids = await Promise.all([good, bad, oom].map(async (id) => (await node.containerInfo(id)).pid));
      await end();
      writeFileSync(go, "");
      await waitFor(() => pids.every((pid) => !existsSync(`/proc/${pid}`)), { timeoutMs: 20_000 });
      const endedByMs = Date.now();
      await node.startAgain();
      assert.ok(Date.now() > endedByMs);
      for (const [i, [id, exitCode, reason]] of [
        [good, 0, "Completed"] as const,
        [bad, 42, "Error"] as const,
        [oom, 137, "OOMKilled"] as const,
      ].entries()) {
        const status = await node.containerStatus(id);
        assert.deepEqual(
          [status.state, status.exitCode, status.reason],
          [ContainerState.CONTAINER_EXITED, exitCode, reason],
          reason,
        );
        const last = parseLog(readFileSync(logs[i]!, "utf8")).at(-1)!;
        assert.equal(last.text, "last");
        // A file's times come from the kernel's coarse clock: up to a tick, 4 ms at 250 Hz and 10 at 100, behind.
        assert.ok(
          status.finishedAt >= last.timeNs - 20_000_000n,
          `${reason}: ended at ${status.finishedAt}, logged at ${last.timeNs}`,
        );
        assert.ok(status.finishedAt <= BigInt(endedByMs + 100) * 1_000_000n, "not the time of the daemon's start");
        await node.removeContainer(id);
      }
      await node.removePod(pod.id);
    });

    test("has pods that can be used as before", async () => {
      const pods = [
        await node.runPod(),
        await node.runPod({ linux: podPid }),
        await node.runPod({
          linux: {
            securityContext: {
              namespaceOptions: { pid: NamespaceMode.NODE, network: NamespaceMode.NODE, ipc: NamespaceMode.NODE },
            },
          },
        }),
      ];
      await Promise.all(pods.map((pod) => node.runContainer(pod, "echo first; sleep 600")));
      await end();
      await node.startAgain();
      for (const pod of pods) {
        assert.equal((await node.podStatus(pod.id)).state, PodSandboxState.SANDBOX_READY);
        const again = await node.call("runPodSandbox", { config: pod.config, runtimeHandler: "" });
        assert.equal(again.podSandboxId, pod.id, "a retry after the restart finds the pod");
        const second = await node.runContainer(pod, "echo second; sleep 600");
        await node.untilLogged(second, "second");
        assert.equal(await node.output(second, "cat /etc/hostname"), await node.output(second, "hostname"));
        await node.stopContainer(second, 0);
        await node.removeContainer(second);
      }
      await Promise.all(pods.map((pod) => node.removePod(pod.id)));
      assert.deepEqual(node.remains(), []);
    });

    const leavesNoCommand = async () => {
      const pod = await node.runPod();
      const id = await node.runContainer(pod, "sleep 600");
      const exec = node.exec(id, ["sh", "-c", "sleep 4321 & exec sleep 4321"]).catch(() => undefined);
      const sleeping = async () => (await node.exec(id, ["sh", "-c", "ps | grep -c '[s]leep 4321'"])).stdout.trim();
      await waitFor(async () => (await sleeping()) === "2");
      await end();
      await exec;
      await node.startAgain();
      assert.equal(await sleeping(), "0");
      assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
      await node.removePod(pod.id);
      assert.deepEqual(node.remains(), []);
    };
    // SIGTERM gives calls under way ten seconds to end.
    if (signal === "SIGKILL") test("leaves no command running whose caller is gone", leavesNoCommand);

    test("takes down what was being made", async () => {
      const pod = await node.runPod();
      const making: Promise<unknown>[] = [];
      for (let i = 0; i < 4; i++)
        making.push(
          node.runPod().catch(() => undefined),
          node.runContainer(pod, counter).catch(() => undefined),
        );
      await new Promise((resolve) => setTimeout(resolve, afterMs)); // somewhere in the middle, wherever that is
      await end();
      await Promise.all(making);
      await node.startAgain();
      const { items } = await node.call("listPodSandbox", { filter: undefined });
      const { containers } = await node.call("listContainers", { filter: undefined });
      for (const item of items) assert.equal(item.state, PodSandboxState.SANDBOX_READY);
      for (const container of containers) await node.stopContainer(container.id, 0);
      await Promise.all(items.map((item) => node.removePod(item.id)));
      assert.deepEqual(node.remains(), []);
      assert.deepEqual(node.leftBehind(), []);
    });
  });
}

describe("the init of a pod that shares its PID namespace", { skip }, () => {
  let node: TestNode;
  before(async () => {
    node = await TestNode.start();
  });
  after(() => node[Symbol.asyncDispose]());

  const initOf = async (pod: Pod) => {
    const { info } = await node.call("podSandboxStatus", { podSandboxId: pod.id, verbose: true });
    const { pid } = JSON.parse(info["info"]!) as { pid: number };
    assert.ok(pid > 0);
    return pid;
  };

  for (const runtime of eachRuntime) {
    const test = testFor(runtime);
    test(`is missed when it dies, also while the daemon is down, with ${runtime}`, async () => {
      const pods = [
        await node.runPod({ linux: podPid }, runtime),
        await node.runPod({ linux: podPid }, runtime),
      ] as const;
      const ids = await Promise.all(pods.map((pod) => node.runContainer(pod, "sleep 600")));
      const inits = await Promise.all(pods.map(initOf));
      process.kill(inits[0]!, "SIGKILL");
      await waitFor(async () => (await node.podStatus(pods[0].id)).state === PodSandboxState.SANDBOX_NOTREADY, {
        message: "the end of the init is not noticed",
      });
      assert.equal((await node.untilExited(ids[0]!)).exitCode, 137); // the kernel kills the namespace with its process 1
      assert.equal((await node.podStatus(pods[1].id)).state, PodSandboxState.SANDBOX_READY);
      await node.stop();
      process.kill(inits[1]!, "SIGKILL");
      await node.startAgain();
      assert.equal((await node.untilExited(ids[1]!)).exitCode, 137);
      await waitFor(async () => (await node.podStatus(pods[1].id)).state === PodSandboxState.SANDBOX_NOTREADY);
      await Promise.all(pods.map((pod) => node.removePod(pod.id)));
    });
  }
});
