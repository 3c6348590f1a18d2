// containerd's own shim as a handler: what is different from conmon.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Code } from "@keelson/base/status.ts";
import { ContainerState, NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import { linesOf, parseLog } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { runtimeBinary } from "@keelson/testkit/runtime-binary.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { rejectsWith, TestNode } from "../testing/test-node.ts";

for (const runtime of ["shim-runc", "shim-crun"] as const) {
  describe(`containers of containerd's shim, ${runtime}`, { skip, concurrency: false }, () => {
    let node: TestNode;
    before(async () => {
      node = await TestNode.start({ runtime });
    });
    after(() => node[Symbol.asyncDispose]());

    /** As the bundle has it. */
    const shimOf = (id: string) =>
      (
        JSON.parse(readFileSync(join(node.state, "containers", id, "shim.json"), "utf8")) as {
          identity: { pid: number };
        }
      ).identity.pid;
    /** All that was ever logged, in the files that a kubelet would have made. */
    const allLines = (logPath: string, rotated: readonly string[]) =>
      linesOf([...rotated, logPath].flatMap((path) => (existsSync(path) ? parseLog(readFileSync(path, "utf8")) : [])));

    test("ten of a pod share a shim, of another pod not, and it ends with the last one", async () => {
      const pod = await node.runPod();
      const other = await node.runPod();
      const ids = await Promise.all(
        Array.from({ length: 10 }, (_, i) => node.runContainer(pod, `echo ${i}; sleep 600`)),
      );
      const stranger = await node.runContainer(other, "sleep 600");
      const shim = shimOf(ids[0]!);
      assert.deepEqual([...new Set(ids.map(shimOf))], [shim]);
      assert.notEqual(shimOf(stranger), shim);
      await Promise.all(ids.map((id, i) => node.untilLogged(id, String(i))));
      // The first one's bundle is the shim's working directory.
      for (const id of ids.slice(0, 9)) await node.removeContainer(id);
      assert.equal(await node.output(ids[9]!, "echo here"), "here\n");
      const again = await node.runContainer(pod, "sleep 600");
      assert.equal(shimOf(again), shim);
      await node.removeContainer(again);
      await node.removeContainer(ids[9]!);
      await waitFor(() => !existsSync(`/proc/${shim}`), { message: "the shim of no containers goes on" });
      assert.equal(await node.outputOf(pod, "echo anew"), "anew");
      await node.removePod(pod.id);
      await node.removePod(other.id);
      assert.deepEqual(node.leftBehind(), []);
    });

    test("a pod of containers that end together does not wait for their shim to end before the last of them is removed", async () => {
      const pod = await node.runPod();
      for (let made = 0; made < 3; made++) await node.runContainer(pod, "sleep 600");
      await node.stopPod(pod.id);
      await node.stop(); // its log is complete then
      assert.doesNotMatch(node.daemonLog(), /a shim that has no containers any more does not end/);
      await node.startAgain();
      await node.removePod(pod.id);
      assert.deepEqual(node.leftBehind(), []);
    });

    test("a daemon that is killed again and again while a container floods its log loses, doubles and cuts no line", async () => {
      const pod = await node.runPod();
      const id = await node.runContainer(
        pod,
        "trap 'exit 3' TERM; i=0; while :; do i=$((i+1)); echo line $i of a flood that is long enough to be cut somewhere; done",
      );
      const { logPath } = await node.containerStatus(id);
      const rotated: string[] = [];
      for (let round = 0; round < 6; round += 1) {
        await delay(150 + 67 * round);
        await node.kill("SIGKILL");
        // Longer than a full pipe takes to fill: the container has to wait, and to go on.
        await delay(round === 0 ? 1000 : 50);
        await node.startAgain();
        if (round % 2 === 0) continue;
        // As a kubelet rotates, while it runs.
        rotated.push(`${logPath}.${round}`);
        renameSync(logPath, rotated.at(-1)!);
        await node.call("reopenContainerLog", { containerId: id });
      }
      await node.stopContainer(id, 10);
      assert.equal((await node.containerStatus(id)).exitCode, 3);
      const lines = allLines(logPath, rotated);
      assert.ok(lines.length > 1000, `${lines.length} lines`);
      for (const [i, line] of lines.entries()) {
        // The shell is killed in the middle of its last line.
        if (i < lines.length - 1)
          assert.equal(line, `line ${i + 1} of a flood that is long enough to be cut somewhere`);
      }
      await node.removePod(pod.id);
    });

    test("a container that ends while the daemon is away has its exit code, time and last words", async () => {
      const pod = await node.runPod();
      const id = await node.runContainer(pod, "sleep 1; echo last words; exit 6");
      await node.kill("SIGKILL");
      await delay(1500);
      await node.startAgain();
      const { exitCode, finishedAt, logPath } = await node.untilExited(id);
      assert.equal(exitCode, 6);
      assert.ok(BigInt(Date.now()) * 1_000_000n - finishedAt > 100_000_000n, "the end is that of the daemon's return");
      assert.deepEqual(allLines(logPath, []), ["last words"]);
      await node.removePod(pod.id);
    });

    test("when its shim is killed a container is unknown with the reason, its processes are gone, and others go on", async () => {
      // Its init goes on, and with it the pod.
      const pod = await node.runPod({ linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.POD } } } });
      const other = await node.runPod();
      const id = await node.runContainer(pod, "echo up; sleep 600");
      const untouched = await node.runContainer(other, "sleep 600");
      await node.untilLogged(id, "up");
      const { pid } = await node.containerInfo(id);
      process.kill(shimOf(id), "SIGKILL");
      await waitFor(async () => (await node.containerStatus(id)).state === ContainerState.CONTAINER_UNKNOWN, {
        message: "its end could not be recorded",
      });
      assert.match((await node.containerStatus(id)).message, /its shim \(process \d+\) has ended or was killed/);
      await waitFor(() => !existsSync(`/proc/${pid}`));
      assert.equal(await node.output(untouched, "echo well"), "well\n");
      await node.removeContainer(id);
      assert.equal(await node.outputOf(pod, "echo anew"), "anew");
      for (const { id } of [pod, other]) await node.removePod(id);
      assert.deepEqual(node.leftBehind(), []);
    });

    test("a shim that is killed while the daemon is away is found so", async () => {
      const pod = await node.runPod();
      const id = await node.runContainer(pod, "sleep 600");
      await node.kill("SIGKILL");
      process.kill(shimOf(id), "SIGKILL");
      await node.startAgain();
      assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_UNKNOWN);
      await node.removePod(pod.id);
      assert.deepEqual(node.leftBehind(), []);
    });

    test("a shim that hangs holds up its own pod alone, which can be removed", async () => {
      const pod = await node.runPod();
      const other = await node.runPod();
      const id = await node.runContainer(pod, "sleep 600");
      const untouched = await node.runContainer(other, "sleep 600");
      process.kill(shimOf(id), "SIGSTOP");
      await rejectsWith(Code.DeadlineExceeded, node.exec(id, "true", 1));
      assert.equal(await node.output(untouched, "echo well"), "well\n");
      const { containers } = await node.call("listContainers", { filter: undefined });
      assert.equal(containers.length, 2);
      await node.removePod(pod.id);
      await node.removePod(other.id);
      assert.deepEqual(node.leftBehind(), []);
    });

    test("nothing of removed containers is in the daemon's directories", () => {
      assert.deepEqual(readdirSync(join(node.state, "containers")), []);
      assert.deepEqual(readdirSync(join(node.state, "shims", runtime)), ["events"]);
    });
  });
}

test(
  "what a runtime has begun of a container whose daemon was killed meanwhile goes with the pod",
  { skip },
  async (t) => {
    const dir = mkdtempSync("/run/keelson-halfway-");
    t.after(() => rmSync(dir, { recursive: true }));
    const begun = join(dir, "begun");
    // As far as crun and runc have come when they wait for the container's first process.
    const begin = `while [ "$1" != --root ]; do shift; done; root=$2; while [ $# -gt 1 ]; do shift; done; mkdir -p $root/$1; >$root/$1/exec.fifo; >${begun}; exec sleep 4326`;
    writeFileSync(join(dir, "halfway"), `#!/bin/sh\ncase " $* " in *" create "*) ${begin} ;; esac\nexec crun "$@"\n`, {
      mode: 0o755,
    });
    const config = `[runtimes.halfway]\ntype = "shim"\npath = "${runtimeBinary("containerd-shim-runc-v2")}"\noptions = { BinaryName = "${join(dir, "halfway")}" }\n`;
    await using node = await TestNode.start({ config });
    const pod = await node.runPod({}, "halfway");
    const failing = assert.rejects(node.createContainer(pod, "true"));
    await waitFor(() => existsSync(begun), { message: "the runtime was not called" });
    await node.kill("SIGKILL");
    await failing;
    assert.equal(node.remains().filter((path) => path.endsWith("/exec.fifo")).length, 1);
    await node.startAgain();
    await node.removePod(pod.id);
    assert.deepEqual(node.remains(), []);
    assert.deepEqual(node.leftBehind(), []);
  },
);
