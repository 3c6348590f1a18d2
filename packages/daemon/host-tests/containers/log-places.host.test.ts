// Where logs are: a directory that goes away, no room, things that are no file, names in any language.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { logSoFar } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { eachRuntime, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const counter = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done";

const useNode = shareNode();

describe("a log", { skip, concurrency: 3 }, () => {
  let node: TestNode;
  useNode((shared) => void (node = shared));

  const counting = async (pod: Pod, logPath: string) => {
    const id = await node.runContainer(pod, { command: ["sh", "-c", counter], logPath });
    await node.untilLogged(id, "3");
    return { id, path: (await node.containerStatus(id)).logPath };
  };
  const reopen = (containerId: string) => node.call("reopenContainerLog", { containerId });
  const runs = async (id: string) =>
    assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);

  for (const runtime of eachRuntime) {
    const test = testFor(runtime);

    test(`comes back in a directory that was removed with ${runtime}`, async () => {
      const pod = await node.runPod({}, runtime);
      const { id, path } = await counting(pod, "sub/c.log");
      rmSync(dirname(path), { recursive: true });
      await reopen(id);
      await waitFor(() => logSoFar(path).length > 0, { message: "the new log does not grow" });
      await runs(id);
      await node.removePod(pod.id);
    });

    test(`goes on where it is when there is no room for a new file with ${runtime}`, async () => {
      const pod = await node.runPod({}, runtime);
      const dir = join(pod.config.logDirectory, "small");
      mkdirSync(dir, { recursive: true });
      // The file system's root and the log; one more is the one that a rotation makes.
      execFileSync("mount", ["-t", "tmpfs", "-o", "nr_inodes=2,size=1m", "tmpfs", dir]);
      try {
        const { id, path } = await counting(pod, "small/c.log");
        renameSync(path, `${path}.1`);
        await rejectsWith(Code.ResourceExhausted, reopen(id), /no room/i);
        const count = logSoFar(`${path}.1`).length;
        await waitFor(() => logSoFar(`${path}.1`).length > count, { message: "the old log does not go on" });
        await runs(id);
        renameSync(`${path}.1`, path);
        await reopen(id);
        await node.stopContainer(id, 0);
        assert.equal((await node.containerStatus(id)).reason, "Error");
        await node.removePod(pod.id);
      } finally {
        execFileSync("umount", ["--lazy", dir]);
      }
    });

    test(`is never written through a link or into a FIFO with ${runtime}`, async () => {
      const pod = await node.runPod({}, runtime);
      mkdirSync(pod.config.logDirectory, { recursive: true });
      const secret = join(node.dir, `secret-${runtime}`);
      writeFileSync(secret, "as it was");
      symlinkSync(secret, join(pod.config.logDirectory, "link.log"));
      execFileSync("mkfifo", [join(pod.config.logDirectory, "fifo.log")]);
      for (const logPath of ["link.log", "fifo.log"]) {
        const begin = async () => {
          const id = await node.createContainer(pod, { command: ["echo", "gone"], logPath });
          await node.startContainer(id);
        };
        await rejectsWith(
          Code.FailedPrecondition,
          begin(),
          new RegExp(`${logPath}: something else than a regular file`),
        );
      }
      assert.equal(readFileSync(secret, "utf8"), "as it was");
      const { id, path } = await counting(pod, "c.log");
      renameSync(path, `${path}.1`);
      mkdirSync(path);
      await rejectsWith(Code.FailedPrecondition, reopen(id), /something else than a regular file/);
      await runs(id);
      await node.removePod(pod.id);
    });

    test(`and everything else that has a name may have it in any language with ${runtime}`, async () => {
      const volume = join(node.dir, `音量-${runtime}`);
      mkdirSync(volume);
      writeFileSync(join(volume, "файл"), "content");
      const pod = await node.runPod({ labels: { ключ: "значение" } }, runtime);
      const id = await node.runContainer(pod, {
        command: ["sh", "-c", 'echo "$GREETING $PWD $(cat /données/файл)"'],
        logPath: "日本.log",
        labels: { étiquette: "ラベル" },
        envs: [{ key: "GREETING", value: Buffer.from("здравствуй") }],
        workingDir: "/données",
        mounts: [{ hostPath: volume, containerPath: "/données" }],
      });
      const { exitCode, logPath, labels } = await node.untilExited(id);
      assert.deepEqual([exitCode, labels], [0, { étiquette: "ラベル" }]);
      assert.ok(existsSync(logPath) && logPath.endsWith("/日本.log"), logPath);
      assert.deepEqual(
        logSoFar(logPath).map((entry) => entry.text),
        ["здравствуй /données content"],
      );
      await node.removePod(pod.id);
    });
  }
});
