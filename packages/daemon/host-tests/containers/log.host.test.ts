// Logs as a kubelet reads and rotates them.
import assert from "node:assert/strict";
import { existsSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { linesOf, logSoFar, parseLog } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { eachRuntime, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const counter = "i=0; while :; do i=$((i+1)); echo $i; usleep 2000; done";

const useNode = shareNode();

describe("container logs", { skip, concurrency: 3 }, () => {
  let node: TestNode;
  let pod: Pod;
  useNode(async (shared) => {
    node = shared;
    pod = await node.runPod();
  });

  const logOf = async (script: string, inPod = pod) => {
    const id = await node.runContainer(inPod, script);
    const { logPath } = await node.untilExited(id);
    return parseLog(readFileSync(logPath, "utf8"));
  };

  for (const runtime of eachRuntime) {
    const test = testFor(runtime);
    test(`have each line with its time, stream and tag with ${runtime}`, async () => {
      const own = await node.runPod({}, runtime);
      const before = BigInt(Date.now()) * 1_000_000n;
      const entries = await logOf("echo hello World; echo oops >&2; echo; printf 'ünïcode\\ttab\\r\\n'", own);
      const after = BigInt(Date.now() + 1) * 1_000_000n;
      const byStream = (stream: string) =>
        entries.filter((entry) => entry.stream === stream).map((entry) => [entry.tag, entry.text]);
      assert.deepEqual(byStream("stdout"), [
        ["F", "hello World"],
        ["F", ""],
        ["F", "ünïcode\ttab\r"],
      ]);
      assert.deepEqual(byStream("stderr"), [["F", "oops"]]);
      assert.ok(entries.every((entry) => entry.timeNs >= before && entry.timeNs <= after));
      await node.removePod(own.id);
    });
  }

  test("have a long line in parts, and the end of one without newline", async () => {
    const entries = await logOf("head -c 50000 /dev/zero | tr '\\0' x; echo; echo after; printf 'no newline'");
    assert.deepEqual(linesOf(entries), ["x".repeat(50_000), "after", "no newline"]);
    const parts = entries.slice(0, entries.findIndex((entry) => entry.tag === "F") + 1);
    assert.ok(parts.length >= 4, "in parts of at most 16 KiB");
    assert.ok(parts.every((entry) => entry.text.length <= 16 * 1024));
  });

  test("have lines of exactly a part's length whole", async () => {
    for (const size of [8191, 8192, 8193, 16_383, 16_384, 16_385]) {
      assert.deepEqual(
        linesOf(await logOf(`head -c ${size} /dev/zero | tr '\\0' x; echo; echo after`)),
        ["x".repeat(size), "after"],
        String(size),
      );
    }
  });

  test("keep streams apart that write at once", async () => {
    const entries = await logOf(
      "for i in $(seq 500); do echo o$i; done & for i in $(seq 500); do echo e$i >&2; done & wait",
    );
    const numbers = Array.from({ length: 500 }, (_, i) => i + 1);
    assert.deepEqual(
      linesOf(entries, "stdout"),
      numbers.map((i) => `o${i}`),
    );
    assert.deepEqual(
      linesOf(entries, "stderr"),
      numbers.map((i) => `e${i}`),
    );
  });

  test("are whole when a megabyte comes in one go and the container ends", async () => {
    const entries = await logOf("seq 150000");
    assert.deepEqual(
      linesOf(entries),
      Array.from({ length: 150_000 }, (_, i) => String(i + 1)),
    );
  });

  test("go on in a new file that is there at once after a rotation, and lose no line", async () => {
    const id = await node.runContainer(pod, counter);
    const { logPath } = await node.containerStatus(id);
    await node.untilLogged(id, "20");
    const old: string[] = [];
    for (let turn = 1; turn <= 5; turn++) {
      old.push(`${logPath}.${turn}`);
      renameSync(logPath, old.at(-1)!);
      await node.call("reopenContainerLog", { containerId: id });
      assert.ok(existsSync(logPath), "the new file is there when the call returns");
      const size = statSync(old.at(-1)!).size;
      await waitFor(() => logSoFar(logPath).length >= 10, { message: "the new file does not grow" });
      assert.equal(statSync(old.at(-1)!).size, size, "the old file stays as it is");
    }
    await node.stopContainer(id, 0);
    const all = [...old, logPath].map((path) => readFileSync(path, "utf8")).join("");
    const lines = linesOf(parseLog(all));
    assert.deepEqual(
      lines,
      lines.map((_, i) => String(i + 1)),
    );
    assert.ok(lines.length > 70);
  });

  test("lose nothing when they are reopened without a rotation", async () => {
    const id = await node.runContainer(pod, counter);
    await node.untilLogged(id, "10");
    for (let i = 0; i < 10; i++) await node.call("reopenContainerLog", { containerId: id });
    const count = (await node.log(id)).length;
    await node.untilLogged(id, String(count + 10));
    await node.stopContainer(id, 0);
    const lines = linesOf(await node.log(id));
    assert.deepEqual(
      lines,
      lines.map((_, i) => String(i + 1)),
    );
  });

  test("come back when somebody has removed the file", async () => {
    const id = await node.runContainer(pod, counter);
    await node.untilLogged(id, "1");
    const { logPath } = await node.containerStatus(id);
    rmSync(logPath);
    await node.call("reopenContainerLog", { containerId: id });
    assert.ok(existsSync(logPath));
    await waitFor(() => logSoFar(logPath).length > 0);
    await node.stopContainer(id, 0);
  });

  test("cannot be reopened for a container that does not run", async () => {
    const id = await node.createContainer(pod, "true");
    await rejectsWith(Code.FailedPrecondition, node.call("reopenContainerLog", { containerId: id }));
    await node.startContainer(id);
    await node.untilExited(id);
    await rejectsWith(Code.FailedPrecondition, node.call("reopenContainerLog", { containerId: id }));
  });

  test("need not be there: a container without a log path runs and is reopened for nothing", async () => {
    const id = await node.runContainer(pod, { command: ["sh", "-c", "echo into the void; sleep 600"], logPath: "" });
    assert.equal((await node.containerStatus(id)).logPath, "");
    await node.call("reopenContainerLog", { containerId: id });
    assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
    await node.stopContainer(id, 0);
  });

  test("make their directory, however deep, and append to a file that is there", async () => {
    const config = node.containerConfig({ command: ["echo", "line"], logPath: "deep/er/0.log" });
    const run = async () => {
      const { containerId } = await node.call("createContainer", {
        podSandboxId: pod.id,
        config,
        sandboxConfig: pod.config,
      });
      await node.startContainer(containerId);
      const { logPath } = await node.untilExited(containerId);
      await node.removeContainer(containerId);
      return linesOf(parseLog(readFileSync(logPath, "utf8")));
    };
    assert.deepEqual(await run(), ["line"]);
    assert.deepEqual(await run(), ["line", "line"]);
  });

  test("of a terminal have its carriage returns and are all stdout", async () => {
    const id = await node.runContainer(pod, {
      command: ["sh", "-c", "echo out; echo err >&2; tty; stty size"],
      tty: true,
    });
    await node.untilExited(id);
    const entries = await node.log(id);
    assert.ok(entries.every((entry) => entry.stream === "stdout"));
    assert.deepEqual(
      linesOf(entries)
        .slice(0, 2)
        .map((line) => line.replace(/\r$/, "")),
      ["out", "err"],
    );
    assert.match(linesOf(entries)[2]!, /^\/dev\/(pts\/\d+|console)\r?$/);
  });
});
