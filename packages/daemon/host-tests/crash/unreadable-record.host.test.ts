// A record that this build cannot read, as after a rollback: what it stands for runs on, and a person can remove it.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, before, describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { ContainerState, NamespaceMode, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { linesOf, logSoFar } from "@keelson/testkit/cri-log.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { skipFor } from "../testing/each-runtime.ts";
import { imageSpec, rejectsWith, TestNode } from "../testing/test-node.ts";

const counter = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";
const podPid = { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } };

for (const runtime of ["crun", "shim-runc"] as const) {
  describe(`a record that cannot be read, with ${runtime}`, { skip: skipFor(runtime) }, () => {
    let node: TestNode;
    before(async () => {
      node = await TestNode.start({ runtime });
    });
    after(() => node[Symbol.asyncDispose]());

    type Table = "pods" | "containers";

    const rowOf = (table: Table, id: string) => {
      using db = new DatabaseSync(join(node.root, "state.db"));
      return String(db.prepare(`SELECT record FROM ${table} WHERE id = ?`).get(id)?.["record"]);
    };

    /** Changes a record behind the back of a daemon that is killed for it; returns what it was. */
    async function restartWith(table: Table, id: string, change: (row: string) => string): Promise<string> {
      await node.kill("SIGKILL");
      const before = rowOf(table, id);
      {
        using db = new DatabaseSync(join(node.root, "state.db"));
        db.prepare(`UPDATE ${table} SET record = ? WHERE id = ?`).run(change(before), id);
      }
      await node.startAgain();
      return before;
    }

    /** A state that this build does not know. */
    const laterState = (row: string) => row.replace(/"is":"(running|ready)"/, '"is":"suspended"');
    const cut = (row: string) => row.slice(0, row.indexOf('"cgroupPath"'));
    const stateOf = async (id: string) => (await node.containerStatus(id)).state;
    const goesOnLogging = async (logPath: string) => {
      const lines = linesOf(logSoFar(logPath)).length;
      await waitFor(() => linesOf(logSoFar(logPath)).length > lines + 10, { message: "nothing more is logged" });
    };

    for (const [how, damage] of [
      ["has a state of a later build", laterState],
      ["is cut off", cut],
    ] as const) {
      test(`a container whose record ${how} runs and logs, is listed as unknown, and is back when it can be read`, async () => {
        const [pod, other] = [await node.runPod({ linux: podPid }), await node.runPod()];
        const id = await node.runContainer(pod, counter);
        const bystander = await node.runContainer(other, counter);
        const { pid, bundle } = await node.containerInfo(id);
        const { logPath } = await node.containerStatus(id);
        const before = await restartWith("containers", id, damage);
        for (let starts = 0; starts < 2; starts += 1) {
          const { state, reason, message } = await node.containerStatus(id);
          assert.deepEqual([state, reason], [ContainerState.CONTAINER_UNKNOWN, "UnreadableRecord"]);
          assert.match(message, /cannot read its record/);
          await goesOnLogging(logPath);
          const { containers } = await node.call("listContainers", { filter: undefined });
          assert.deepEqual(
            containers.map((c) => [c.id, c.state, c.podSandboxId]).sort(byId),
            [
              [id, ContainerState.CONTAINER_UNKNOWN, pod.id],
              [bystander, ContainerState.CONTAINER_RUNNING, other.id],
            ].sort(byId),
          );
          for (const each of [pod, other])
            assert.equal((await node.podStatus(each.id)).state, PodSandboxState.SANDBOX_READY);
          await rejectsWith(Code.FailedPrecondition, node.exec(id, "true"), /cannot read its record/);
          assert.equal(await node.output(bystander, "echo here"), "here\n");
          assert.equal(await node.outputOf(pod, "echo beside"), "beside");
          assert.ok(existsSync(join(bundle, "rootfs/bin")));
          assert.match(node.daemonLog(), /the record of a container cannot be read/);
          const conditions = (await node.call("status", { verbose: false })).status!.conditions;
          assert.deepEqual(
            conditions.filter((condition) => !condition.status).map(({ type }) => type),
            ["KeelsonRecordsReadable"],
          );
          assert.equal(rowOf("containers", id), damage(before), "byte for byte");
          if (starts > 0) break;
          await node.stop();
          await node.startAgain();
        }
        await restartWith("containers", id, () => before);
        assert.equal(await stateOf(id), ContainerState.CONTAINER_RUNNING);
        assert.equal((await node.containerInfo(id)).pid, pid);
        const lines = linesOf(await node.log(id));
        assert.deepEqual(
          lines,
          lines.map((_, i) => String(i + 1)),
          "not a line is lost",
        );
        await Promise.all([node.removePod(pod.id), node.removePod(other.id)]);
        assert.deepEqual(node.remains(), []);
      });

      test(`a container whose record ${how} is stopped and removed by a person, and leaves nothing`, async () => {
        const pod = await node.runPod();
        const [id, beside] = [await node.runContainer(pod, counter), await node.runContainer(pod, counter)];
        const { pid } = await node.containerInfo(id);
        await restartWith("containers", id, damage);
        await node.stopContainer(id, 1);
        await waitFor(() => !existsSync(`/proc/${pid}`));
        assert.equal(await stateOf(id), ContainerState.CONTAINER_UNKNOWN);
        await node.removeContainer(id);
        await rejectsWith(Code.NotFound, node.containerStatus(id));
        assert.deepEqual(
          node.remains().filter((path) => path.includes(id)),
          [],
        );
        assert.equal(await stateOf(beside), ContainerState.CONTAINER_RUNNING);
        assert.equal(await node.outputOf(pod, "echo again"), "again");
        await node.removePod(pod.id);
        assert.deepEqual(node.leftBehind(), []);
      });
    }

    test("a container that ends while its record cannot be read has ended with its real code when it can be", async () => {
      const pod = await node.runPod();
      const id = await node.runContainer(pod, "trap 'exit 7' TERM; echo up; while :; do sleep 0.02; done");
      await node.untilLogged(id, "up");
      const { pid } = await node.containerInfo(id);
      const before = await restartWith("containers", id, laterState);
      process.kill(pid, "SIGTERM");
      await waitFor(async () => (await node.containerStatus(id)).exitCode === 7, { message: "its end is not seen" });
      assert.equal(await stateOf(id), ContainerState.CONTAINER_UNKNOWN);
      await restartWith("containers", id, () => before);
      const { state, exitCode } = await node.containerStatus(id);
      assert.deepEqual([state, exitCode], [ContainerState.CONTAINER_EXITED, 7]);
      await node.removePod(pod.id);
    });

    test("a pod whose record cannot be read keeps its network and its containers, and is back when it can be read", async () => {
      const pod = await node.runPod({ linux: podPid, portMappings: [{ containerPort: 80, hostPort: 18_095 }] });
      const id = await node.runContainer(pod, counter);
      const { network } = await node.podStatus(pod.id);
      const before = await restartWith("pods", pod.id, laterState);
      assert.equal((await node.podStatus(pod.id)).state, PodSandboxState.SANDBOX_NOTREADY);
      assert.equal(await stateOf(id), ContainerState.CONTAINER_RUNNING);
      assert.match(await node.output(id, "ip -o -4 addr show eth0"), new RegExp(` ${network!.ip}/`));
      const { info } = await node.call("podSandboxStatus", { podSandboxId: pod.id, verbose: true });
      assert.match((JSON.parse(info["info"]!) as { unreadable: string }).unreadable, /cannot read its record/);
      await rejectsWith(Code.FailedPrecondition, node.runContainer(pod, "true"), /cannot read its record/);
      await rejectsWith(Code.AlreadyExists, node.call("runPodSandbox", { config: pod.config, runtimeHandler: "" }));
      await restartWith("pods", pod.id, () => before);
      assert.deepEqual((await node.podStatus(pod.id)).network, network);
      assert.equal(await node.outputOf(pod, "echo again"), "again");
      await node.removePod(pod.id);
    });

    for (const [how, damage] of [
      ["has a state of a later build", laterState],
      ["says nothing", () => "{"],
    ] as const) {
      test(`a pod whose record ${how} is removed by a person with its containers, and leaves nothing`, async () => {
        const pod = await node.runPod({ linux: podPid, portMappings: [{ containerPort: 80, hostPort: 18_096 }] });
        const id = await node.runContainer(pod, counter);
        const { pid } = await node.containerInfo(id);
        await restartWith("pods", pod.id, damage);
        assert.equal(await stateOf(id), ContainerState.CONTAINER_RUNNING);
        await node.removePod(pod.id);
        assert.ok(!existsSync(`/proc/${pid}`));
        assert.deepEqual([node.remains(), node.leftBehind()], [[], []]);
      });
    }

    test("the image of a container whose record cannot be read keeps its layers, also when the image is removed", async () => {
      const pod = await node.runPod();
      const id = await node.runContainer(pod, counter);
      await restartWith("containers", id, (row) => row.slice(0, row.indexOf('"layers"')));
      await node.call("removeImage", { image: imageSpec(node.image) });
      assert.match(node.daemonLog(), /no layers are removed for now/);
      node.registry.requests.length = 0;
      await node.call("pullImage", { image: imageSpec(node.image), auth: undefined, sandboxConfig: undefined });
      const [layer] = busyboxImage().layers;
      assert.equal(node.registry.count({ method: "GET", pathIncludes: layer!.digest }), 0, "it is here still");
      assert.equal(await node.outputOf(pod, "echo whole"), "whole");
      await node.removePod(pod.id);
    });
  });
}

const byId = ([a]: readonly unknown[], [b]: readonly unknown[]) => String(a).localeCompare(String(b));
