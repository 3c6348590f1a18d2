// A shim of our own that has its pods in a guest, as Kata's does, and one that misbehaves.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Code } from "@keelson/base/status.ts";
import { ContainerState, NamespaceMode, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import { connectRemote, parseStatus } from "@keelson/streaming/testing/stream-clients.ts";
import { linesOf } from "@keelson/testkit/cri-log.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { guestHandler } from "../testing/guest-handler.ts";
import { type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const misbehave = "guest.test/misbehave";

describe("a shim with a guest", { skip, concurrency: false }, () => {
  let node: TestNode;
  let dir: string;
  before(async () => {
    dir = mkdtempSync("/run/keelson-guest-");
    node = await TestNode.start({ config: `${guestHandler(dir)}[timeouts]\ncreate = 10\n` });
  });
  after(async () => {
    await node[Symbol.asyncDispose]();
    rmSync(dir, { recursive: true });
  });

  const run = (pod: Pod, script: string, annotations: Record<string, string> = {}) =>
    node.runContainer(pod, { command: ["sh", "-c", script], annotations });
  const wrong = (how: string) => ({ annotations: { [misbehave]: how } });

  test("a pod lives: logs, exec, numbers, an end of its own, a stop, and nothing is left", async () => {
    const pod = await node.runPod({}, "guest");
    const id = await run(pod, "echo out; echo err >&2; trap 'echo bye; exit 4' TERM; while :; do sleep 0.05; done");
    await node.untilLogged(id, "out");
    assert.deepEqual(linesOf(await node.log(id), "stderr"), ["err"]);
    assert.deepEqual(await node.exec(id, "cat; echo o; echo e >&2; exit 3"), {
      stdout: "o\n",
      stderr: "e\n",
      exitCode: 3,
    });
    const other = await run(pod, "exit 9");
    assert.equal((await node.untilExited(other)).exitCode, 9);
    await waitFor(
      async () => {
        const { stats } = await node.call("containerStats", { containerId: id });
        return stats?.memory?.usageBytes?.value === 12_345_678n && (stats.cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n;
      },
      { timeoutMs: 30_000, message: "the guest's numbers do not show" },
    );
    await node.stopContainer(id, 10);
    const { exitCode, state } = await node.containerStatus(id);
    assert.deepEqual([exitCode, state], [4, ContainerState.CONTAINER_EXITED]);
    assert.deepEqual(linesOf(await node.log(id)), ["out", "bye"]);
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  const quirky = (...quirks: string[]) => node.runPod({ annotations: { "guest.test/quirks": quirks.join() } }, "guest");

  test("a shim on an abstract socket, of which it prints only the name", async () => {
    const pod = await quirky("abstract");
    const id = await run(pod, "echo up; sleep 600");
    await node.untilLogged(id, "up");
    await node.kill("SIGKILL");
    await node.startAgain();
    assert.equal(await node.output(id, "echo well"), "well\n");
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("where the end of the input ends the output, too, a command without input loses nothing", async () => {
    const pod = await quirky("input-ends-output");
    const id = await run(pod, "sleep 600");
    const script = "sleep 0.2; echo out; sleep 0.2; echo err >&2; exit 3";
    assert.deepEqual(await node.exec(id, script), { stdout: "out\n", stderr: "err\n", exitCode: 3 });
    const streams = { stdin: false, stdout: true, stderr: true };
    const { url } = await node.call("exec", { containerId: id, cmd: ["sh", "-c", script], tty: false, ...streams });
    const client = await connectRemote("websocket", url, streams);
    assert.equal(parseStatus(await client.ended).exitCode, 3);
    assert.deepEqual([client.stdout().toString(), client.stderr().toString()], ["out\n", "err\n"]);
    await node.removePod(pod.id);
  });

  test("where signals end with the first process, a stop ends all of a container, and no sandbox with it", async () => {
    const pod = await quirky("second-process");
    const other = await run(pod, "sleep 600");
    const id = await run(pod, "sleep 600");
    await node.stopContainer(id, 0);
    const { state, exitCode } = await node.containerStatus(id);
    assert.deepEqual([state, exitCode], [ContainerState.CONTAINER_EXITED, 137]);
    assert.equal(await node.output(other, "echo well"), "well\n");
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("a container that does not end ends with its sandbox, and the pod can be removed", async () => {
    const pod = await quirky("second-process", "machine", "delete-fails");
    const id = await run(pod, "trap 'exit 4' TERM; echo up; while :; do sleep 0.05; done");
    await node.untilLogged(id, "up");
    // The first process ends by the signal; after that no other gets one.
    await node.stopContainer(id, 1);
    const { state, message } = await node.containerStatus(id);
    assert.equal(state, ContainerState.CONTAINER_UNKNOWN);
    assert.match(message, /container \w+ still runs 7 s after SIGKILL/);
    await waitFor(async () => (await node.podStatus(pod.id)).state === PodSandboxState.SANDBOX_NOTREADY);
    await node.removePod(pod.id);
    removeCgroupOf(pod);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("a container that was created and never started is stopped and removed, where it has no end of its own", async () => {
    const pod = await quirky("unstarted-stays");
    const other = await run(pod, "sleep 600");
    const ids = await Promise.all([1, 2, 3].map(() => node.createContainer(pod, { command: ["true"] })));
    await node.stopContainer(ids[0]!, 10);
    const { state, exitCode } = await node.containerStatus(ids[0]!);
    assert.deepEqual([state, exitCode], [ContainerState.CONTAINER_EXITED, 137]);
    await node.removeContainer(ids[0]!);
    await node.removeContainer(ids[1]!);
    assert.equal(await node.output(other, "echo well"), "well\n");
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("when a shim is killed the pod is NotReady at once, and nothing is left, however long its cleaning up takes", async () => {
    const pod = await quirky("machine", "delete-slow");
    const id = await run(pod, "sleep 600");
    process.kill(shimOf(id), "SIGKILL");
    const killedAt = performance.now();
    await waitFor(async () => (await node.podStatus(pod.id)).state === PodSandboxState.SANDBOX_NOTREADY);
    await rejectsWith(Code.FailedPrecondition, node.createContainer(pod, { command: ["true"] }), /not ready/);
    await waitFor(async () => (await node.containerStatus(id)).state === ContainerState.CONTAINER_UNKNOWN);
    assert.ok(performance.now() - killedAt < 2000, "neither waits for the shim's delete, which takes 2.5 s");
    await node.removePod(pod.id);
    removeCgroupOf(pod);
    assert.deepEqual(node.leftBehind(), []);
  });

  /** The machine's, which nobody but the shim knows of. */
  function removeCgroupOf({ id }: Pod): void {
    for (const dir of ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"])
      if (existsSync(join(dir, `guest-${id}`))) rmdirSync(join(dir, `guest-${id}`));
  }

  test("a command that is too slow is killed, and the container goes on", async () => {
    const pod = await node.runPod({}, "guest");
    const id = await run(pod, "sleep 600");
    await rejectsWith(Code.DeadlineExceeded, node.exec(id, "sleep 77", 1));
    assert.equal(await node.output(id, "echo still there"), "still there\n");
    await node.removePod(pod.id);
  });

  test("a shim's State that lies, its Delete that does nothing and its endless log cost nobody else anything", async () => {
    const pod = await quirky("chatty", "state-lies", "delete-half");
    const id = await run(pod, "echo up; exit 3");
    assert.equal((await node.untilExited(id)).exitCode, 3);
    const other = await run(pod, "sleep 600");
    await node.kill("SIGKILL");
    await node.startAgain();
    const logBytes = node.daemonLog().length;
    assert.equal(await node.output(other, "echo well"), "well\n");
    await node.removeContainer(id);
    await node.stopContainer(other, 0);
    assert.equal((await node.containerStatus(other)).exitCode, 137);
    await delay(1000);
    assert.ok(node.daemonLog().length - logBytes < 200_000, "a shim's log is read slowly");
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("a shim that is forked by a start that hangs, and leaves the bundle, is found and killed", async () => {
    await rejectsWith(Code.DeadlineExceeded, quirky("start-hangs"), /start its sandbox with guest/);
    await waitFor(() => node.leftBehind().length === 0, { message: () => node.leftBehind().join("\n") });
  });

  test("a port is forwarded to a guest's address where its loopback is out of reach, and the error says so", async () => {
    const pod = await node.runPod({}, "guest");
    const ip = (await node.podStatus(pod.id)).network!.ip;
    const id = await run(pod, `echo hello >/tmp/index.html; echo up; exec httpd -f -p ${ip}:8080 -h /tmp`);
    await node.untilLogged(id, "up");
    const forward = async (port: number) => {
      const { url } = await node.call("portForward", { podSandboxId: pod.id, port: [port] });
      const { session } = await connectSpdy(url, { protocols: ["portforward.k8s.io"] });
      const open = (streamType: string) => session.open({ port: String(port), requestID: "1", streamType });
      const [error, data] = [open("error"), open("data")];
      error.end();
      data.write("GET /index.html HTTP/1.0\r\n\r\n");
      const texts = await Promise.all([text(data), text(error)]);
      session.destroy();
      return texts;
    };
    await waitFor(async () => (await forward(8080))[0].endsWith("hello\n"));
    assert.match((await forward(9))[1], /nothing listens on the pod's address .*out of reach; have the server listen/);
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("when the shim fails to create a container, its own words say why, whatever it has unmounted", async () => {
    const pod = await quirky("create-unmounts");
    await rejectsWith(
      Code.Internal,
      node.createContainer(pod, { command: ["sh", "-c", "true"] }),
      /the guest's agent does not know the capability CAP_BPF/,
    );
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("the host's network and processes are refused by name, its devices in the shim's words", async () => {
    await rejectsWith(
      Code.FailedPrecondition,
      node.runPod({ linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } } }, "guest"),
      /network: runtime handler guest has no pods in the node's network/,
    );
    await rejectsWith(
      Code.FailedPrecondition,
      node.runPod({ linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.NODE } } } }, "guest"),
      /pid: runtime handler guest has no pods that see the node's processes/,
    );
    const pod = await node.runPod({}, "guest");
    await rejectsWith(
      Code.FailedPrecondition,
      node.createContainer(pod, {
        command: ["true"],
        devices: [{ containerPath: "/dev/fuse", hostPath: "/dev/fuse", permissions: "rw" }],
      }),
      /device \/dev\/fuse cannot be had/,
    );
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("the daemon comes back to its pods, and every line is there once", async () => {
    const pod = await node.runPod({}, "guest");
    const id = await run(pod, "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done");
    await node.untilLogged(id, "20");
    await node.kill("SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 500));
    await node.startAgain();
    const before = (await node.log(id)).length;
    await waitFor(async () => (await node.log(id)).length > before + 50);
    const lines = linesOf(await node.log(id));
    assert.deepEqual(
      lines,
      lines.map((_, i) => String(i + 1)),
    );
    assert.equal(await node.output(id, "echo $((6*7))"), "42\n");
    await node.stopContainer(id, 0);
    assert.equal((await node.containerStatus(id)).exitCode, 137);
    await node.removePod(pod.id);
  });

  for (const [how, code, words] of [
    ["garbage", Code.Internal, /start the shim .*printed no address.*hello, world/s],
    ["fail", Code.Internal, /start the shim .*no KVM on this machine \(exit code 1\)/s],
    ["die:Create", Code.Unavailable, /Create/],
    ["garbage:Create", Code.Internal, /answer cannot be read/],
    ["die:Start", Code.Unavailable, /Start/],
  ] as const) {
    test(`a shim with ${how} fails the pod with its reason, and leaves nothing; others go on`, async () => {
      await rejectsWith(code, node.runPod(wrong(how), "guest"), words);
      const pod = await node.runPod({}, "guest");
      assert.equal(await node.outputOf(pod, "echo well"), "well");
      await node.removePod(pod.id);
      assert.deepEqual(node.leftBehind(), []);
    });
  }

  test("a call that hangs ends by its time, and its pod can be removed", async () => {
    const pod = await node.runPod({}, "guest");
    const good = await run(pod, "sleep 600");
    await rejectsWith(
      Code.DeadlineExceeded,
      node.createContainer(pod, { command: ["true"], annotations: { [misbehave]: "hang:Create" } }),
      /create container/,
    );
    const hanging = await node.createContainer(pod, { command: ["true"], annotations: { [misbehave]: "hang:Start" } });
    await rejectsWith(Code.DeadlineExceeded, node.startContainer(hanging), /start container/);
    const slow = await run(pod, "sleep 600", { [misbehave]: "hang:Exec" });
    await rejectsWith(Code.DeadlineExceeded, node.exec(slow, "true", 1));
    assert.equal((await node.containerStatus(good)).state, ContainerState.CONTAINER_RUNNING);
    await node.removePod(pod.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("a shim that does not answer a Kill is killed, with its pod alone", async () => {
    const pod = await node.runPod({}, "guest");
    const other = await node.runPod({}, "guest");
    const id = await run(pod, "sleep 600", { [misbehave]: "hang:Kill" });
    const untouched = await run(other, "sleep 600");
    await node.stopContainer(id, 0).catch(() => {});
    await node.removePod(pod.id);
    assert.equal((await node.containerStatus(untouched)).state, ContainerState.CONTAINER_RUNNING);
    await node.removePod(other.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  test("when a shim is killed its pod is not ready and its containers are unknown, with the reason; others go on", async () => {
    const pod = await node.runPod({}, "guest");
    const other = await node.runPod({}, "guest");
    const id = await run(pod, "sleep 600");
    const untouched = await run(other, "sleep 600");
    process.kill(shimOf(id), "SIGKILL");
    await waitFor(async () => (await node.containerStatus(id)).state === ContainerState.CONTAINER_UNKNOWN, {
      message: "its container is not unknown",
    });
    assert.match((await node.containerStatus(id)).message, /its shim \(process \d+\) has ended or was killed/);
    await waitFor(async () => (await node.podStatus(pod.id)).state === PodSandboxState.SANDBOX_NOTREADY);
    assert.equal((await node.containerStatus(untouched)).state, ContainerState.CONTAINER_RUNNING);
    assert.equal(await node.output(untouched, "echo well"), "well\n");
    await node.removePod(pod.id);
    await node.removePod(other.id);
    assert.deepEqual(node.leftBehind(), []);
  });

  /** As the bundle has it. */
  function shimOf(id: string): number {
    const file = join(node.state, "containers", id, "shim.json");
    assert.ok(existsSync(file));
    return (JSON.parse(readFileSync(file, "utf8")) as { identity: { pid: number } }).identity.pid;
  }
});
