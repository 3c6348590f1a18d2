// StopContainer: the signal, the grace period, the kill.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { describe } from "node:test";
import { Code } from "@keelson/base/status.ts";
import {
  type ContainerConfig,
  ContainerState,
  type DeepPartial,
  NamespaceMode,
  Signal,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { readProcesses } from "@keelson/linux/procfs.ts";
import { linesOf } from "@keelson/testkit/cri-log.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { eachRuntime, skipFor, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { imageSpec, type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done";
const polite = "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done";

async function timed(call: () => Promise<unknown>): Promise<number> {
  const startedMs = performance.now();
  await call();
  return performance.now() - startedMs;
}

const useNode = shareNode();

for (const runtime of eachRuntime) {
  const test = testFor(runtime);
  describe(`StopContainer with ${runtime}`, { skip: skipFor(runtime), concurrency: 4 }, () => {
    let node: TestNode;
    let pod: Pod;
    useNode(async (shared) => {
      node = shared;
      pod = await node.runPod({}, runtime);
    });

    const up = async (script: string, inPod = pod) => {
      const id = await node.runContainer(inPod, script);
      await node.untilLogged(id, "up");
      return id;
    };

    test("lets a container end by itself", async () => {
      const id = await up(polite);
      assert.ok((await timed(() => node.stopContainer(id, 30))) < 3000);
      const { exitCode, reason, state } = await node.containerStatus(id);
      assert.deepEqual([state, exitCode, reason], [ContainerState.CONTAINER_EXITED, 9, "Error"]);
      assert.deepEqual(linesOf(await node.log(id)), ["up", "bye"]);
    });

    test("kills one that does not, after its time and not before", async () => {
      const id = await up(deaf);
      const ms = await timed(() => node.stopContainer(id, 1));
      assert.ok(ms >= 1000 && ms < 3000, `${ms} ms`);
      assert.deepEqual(
        [(await node.containerStatus(id)).exitCode, (await node.containerStatus(id)).reason],
        [137, "Error"],
      );
    });

    test("kills at once with a timeout of 0", async () => {
      const id = await up(polite);
      assert.ok((await timed(() => node.stopContainer(id, 0))) < 1000);
      assert.equal((await node.containerStatus(id)).exitCode, 137);
      assert.deepEqual(linesOf(await node.log(id)), ["up"]);
    });

    test("sends the stop signal of the config, of the image, or else SIGTERM", async () => {
      const script =
        'for s in TERM USR1 INT HUP QUIT; do trap "echo $s; exit 0" $s; done; echo up; while :; do sleep 0.05; done';
      const image = node.registry.add(
        `library/stop-${runtime}`,
        "latest",
        busyboxImage({ config: { Cmd: ["sh", "-c", script], StopSignal: "SIGQUIT" } }),
      );
      await node.call("pullImage", { image: imageSpec(image), auth: undefined, sandboxConfig: undefined });
      const cases: [DeepPartial<ContainerConfig>, string, Signal][] = [
        [{ command: ["sh", "-c", script] }, "TERM", Signal.SIGTERM],
        [{ command: ["sh", "-c", script], stopSignal: Signal.SIGUSR1 }, "USR1", Signal.SIGUSR1],
        [{ image: { image } }, "QUIT", Signal.SIGQUIT],
        [{ image: { image }, stopSignal: Signal.SIGINT }, "INT", Signal.SIGINT],
      ];
      await Promise.all(
        cases.map(async ([overrides, expected, told]) => {
          const id = await node.runContainer(pod, overrides);
          await node.untilLogged(id, "up");
          await node.stopContainer(id, 10);
          assert.deepEqual(linesOf(await node.log(id)), ["up", expected]);
          assert.equal((await node.containerStatus(id)).stopSignal, told);
        }),
      );
    });

    test("ends what the container has forked, in sessions of its own too", async () => {
      const id = await up(
        "trap '' TERM; (trap '' TERM; sleep 9876) & setsid sh -c 'trap \"\" TERM; sleep 9876; true' & setsid sleep 9876 & echo up; wait; while :; do sleep 0.1; done",
      );
      const { cgroup } = await node.containerInfo(id);
      assert.ok(Number((await node.output(id, "ps | grep -c [9]876")).trim()) >= 3);
      await node.stopContainer(id, 0);
      await node.removeContainer(id);
      assert.ok(!existsSync(`/sys/fs/cgroup/memory${cgroup}`));
    });

    test("ends children that outlive the first process in a shared PID namespace", async () => {
      const podPid = { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } };
      const own = await node.runPod({ linux: podPid }, runtime);
      const config = (script: string) => ({ command: ["sh", "-c", script], linux: podPid });
      const watcher = await node.runContainer(own, config("sleep 600"));
      const id = await node.runContainer(own, config("setsid sleep 9875 & echo up; exit 0"));
      assert.equal((await node.untilExited(id)).exitCode, 0);
      await waitFor(async () => (await node.exec(watcher, "ps | grep [9]875")).exitCode === 1, {
        message: "a child of an ended container runs on",
      });
      await node.removePod(own.id);
    });

    test("ends a container that was never started", async () => {
      const id = await node.createContainer(pod, "echo never");
      assert.ok((await timed(() => node.stopContainer(id, 10))) < 3000);
      const { state, exitCode } = await node.containerStatus(id);
      assert.equal(state, ContainerState.CONTAINER_EXITED);
      assert.notEqual(exitCode, 0);
      await rejectsWith(Code.FailedPrecondition, node.startContainer(id));
      assert.deepEqual(linesOf(await node.log(id)), []);
      await node.removeContainer(id);
    });

    test("may be called many times at once, with different timeouts", async () => {
      const id = await up(deaf);
      const ms = await timed(() => Promise.all([10, 10, 1, 10].map((seconds) => node.stopContainer(id, seconds))));
      assert.ok(ms >= 900 && ms < 4000, `the shortest time counts: ${ms} ms`);
      assert.equal((await node.containerStatus(id)).exitCode, 137);
      await Promise.all([
        node.stopContainer(id, 0),
        node.stopContainer(id, 5),
        node.removeContainer(id),
        node.removeContainer(id),
      ]);
      await rejectsWith(Code.NotFound, node.containerStatus(id));
    });

    test("may be called while the container is removed and its pod stopped", async () => {
      const own = await node.runPod({}, runtime);
      const ids = await Promise.all([up(deaf, own), up(deaf, own)]);
      await Promise.all([
        node.stopContainer(ids[0], 5),
        node.removeContainer(ids[1]),
        node.stopPod(own.id),
        node.removePod(own.id),
        node.removePod(own.id),
      ]);
      await rejectsWith(Code.NotFound, node.podStatus(own.id));
    });

    test("goes on to the kill when its caller has gone away", async () => {
      const id = await up(deaf);
      await rejectsWith(
        Code.DeadlineExceeded,
        node.call("stopContainer", { containerId: id, timeout: 30n }, AbortSignal.timeout(300)),
      );
      assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
      await node.stopContainer(id, 0); // a second one is not kept waiting by the first
      assert.equal((await node.containerStatus(id)).exitCode, 137);
    });

    test("ends a container that is stopped by SIGSTOP", async () => {
      const id = await up(polite);
      const { pid } = await node.containerInfo(id);
      assert.ok(pid > 1);
      process.kill(pid, "SIGSTOP");
      await node.stopContainer(id, 1);
      assert.equal((await node.containerStatus(id)).exitCode, 137);
    });

    // A shim that is stopped has its test in shim.host.test.ts.
    if (runtime !== "shim-runc")
      test("ends a container whose monitor is stopped, and one that ends by itself is found", async () => {
        const [asked, unasked] = [await up(deaf), await up("echo up; while [ ! -e /go ]; do sleep 0.05; done; exit 3")];
        process.kill(monitorOf(asked), "SIGSTOP");
        process.kill(monitorOf(unasked), "SIGSTOP");
        await node.exec(unasked, "touch /go");
        await node.stopContainer(asked, 0);
        const exited = [await node.containerStatus(asked), await node.untilExited(unasked)];
        for (const { state, reason, exitCode, message } of exited) {
          assert.deepEqual([state, reason, exitCode], [ContainerState.CONTAINER_EXITED, "MonitorLost", 137]);
          assert.match(message, /did not report/);
        }
        await Promise.all([node.removeContainer(asked), node.removeContainer(unasked)]);
        for (const id of [asked, unasked]) assert.deepEqual(monitorsOf(id), []);
      });
  });
}

function monitorsOf(id: string): number[] {
  return readProcesses()
    .filter(({ pid, name, state }) => name === "conmon" && state !== "Z" && commandLine(pid).includes(id))
    .map(({ pid }) => pid);
}

function monitorOf(id: string): number {
  const [pid, ...others] = monitorsOf(id);
  assert.ok(pid !== undefined && others.length === 0, `monitors of ${id}: ${pid} ${others.join(" ")}`);
  return pid;
}

function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH")) return [];
    throw error;
  }
}
