// What is gVisor's own: one sandbox for a pod's containers, its processes, network and numbers behind a kernel of their own.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Code } from "@keelson/base/status.ts";
import {
  type ContainerConfig,
  ContainerState,
  type DeepPartial,
  LinuxContainerResources,
  MountPropagation,
  NamespaceMode,
  PodSandboxState,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { cgroupDirs, cgroupProcs, controllerDir, detectCgroups } from "@keelson/linux/cgroup.ts";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import { connectRemote, parseStatus } from "@keelson/streaming/testing/stream-clients.ts";
import { linesOf } from "@keelson/testkit/cri-log.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { skipGvisor } from "../testing/gvisor.ts";
import { hostAddress, type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const pidMode = (pid: NamespaceMode, targetId = "") => ({ securityContext: { namespaceOptions: { pid, targetId } } });

async function textOf(stream: Duplex): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

describe("gVisor", { skip: skipGvisor, timeout: 240_000 }, () => {
  let node: TestNode;
  before(async () => (node = await TestNode.start({ runtime: "runsc" })));
  after(() => node[Symbol.asyncDispose]());

  const inPod = async (body: (pod: Pod) => Promise<void>, ...args: Parameters<TestNode["runPod"]>): Promise<void> => {
    const pod = await node.runPod(...args);
    await body(pod);
    await node.removePod(pod.id);
  };
  /** The host's processes of a pod's sandbox: gVisor's kernel, its file servers, the stand-ins of the containers. */
  const sandboxPids = async (pod: Pod): Promise<number[]> => {
    const { info } = await node.call("podSandboxStatus", { podSandboxId: pod.id, verbose: true });
    const { cgroup } = JSON.parse(info["info"]!) as { cgroup: string };
    return cgroupProcs(detectCgroups(), `${cgroup}/init-${pod.id}`);
  };
  const pidCalled = async (pod: Pod, name: string): Promise<number> => {
    const pid = (await sandboxPids(pod)).find((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith(`${name}\0`),
    );
    assert.ok(pid !== undefined, `no ${name}`);
    return pid;
  };
  const psIn = (id: string) => node.output(id, "ps -o pid,ppid,args");

  test("several containers run in one sandbox, under its kernel, with output, exit code and stop signal of each", async () => {
    await inPod(async (pod) => {
      const first = await node.runContainer(
        pod,
        "trap 'echo stopping; exit 3' TERM; dmesg; echo one; while :; do sleep 0.1; done",
      );
      const second = await node.runContainer(pod, "echo two; echo wrong >&2; exit 7");
      const { exitCode, reason } = await node.untilExited(second);
      assert.deepEqual([exitCode, reason], [7, "Error"]);
      assert.deepEqual((await node.log(second)).map(({ stream, text }) => `${stream} ${text}`).sort(), [
        "stderr wrong",
        "stdout two",
      ]);
      await node.untilLogged(first, "one");
      assert.match(linesOf(await node.log(first)).join("\n"), /Starting gVisor/);
      const names = (await sandboxPids(pod)).map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[0]!);
      assert.equal(names.filter((name) => name === "runsc-sandbox").length, 1);
      assert.equal(
        names.filter((name) => name.endsWith("/gvisor-stand-in")).length,
        1,
        "one for the container that runs",
      );
      await node.stopContainer(first, 10);
      assert.equal((await node.containerStatus(first)).exitCode, 3);
      await node.untilLogged(first, "stopping");
    });
    assert.deepEqual(node.leftBehind(), []);
  });

  test("a read-only mount is so with all below it", async (t) => {
    const dir = join(node.dir, "volume");
    mkdirSync(join(dir, "inner"), { recursive: true });
    execFileSync("mount", ["-t", "tmpfs", "inner", join(dir, "inner")]);
    t.after(() => execFileSync("umount", [join(dir, "inner")]));
    writeFileSync(join(dir, "inner/there"), "read");
    await inPod(async (pod) => {
      for (const recursiveReadOnly of [false, true]) {
        const mounts = [
          {
            hostPath: dir,
            containerPath: "/volume",
            readonly: true,
            recursiveReadOnly,
            propagation: MountPropagation.PROPAGATION_PRIVATE,
          },
        ];
        const script =
          "cat /volume/inner/there; for f in x inner/x; do touch /volume/$f 2>/dev/null || echo ' not written'; done";
        assert.equal(
          await node.outputOf(pod, { command: ["sh", "-c", script], mounts }),
          "read not written\n not written",
        );
      }
    });
    assert.deepEqual([existsSync(join(dir, "x")), existsSync(join(dir, "inner/x"))], [false, false]);
  });

  test("a command that cannot be started is an error with its name", async () => {
    await inPod(async (pod) => {
      const id = await node.createContainer(pod, { command: ["/no/such/program"] });
      await assert.rejects(node.startContainer(id), /no\/such\/program/);
      assert.equal((await node.untilExited(id)).reason, "StartError");
    });
  });

  test("an exec that is killed ends inside the sandbox, with what it started", async () => {
    await inPod(async (pod) => {
      const id = await node.runContainer(pod, "echo up; sleep 600");
      await node.untilLogged(id, "up");
      const script = "trap '' TERM HUP; sleep 9871 & (sleep 9871; true) & sleep 9871; true";
      const left = async () =>
        (await psIn(id)).split("\n").filter((line) => line.includes("9871") && !line.includes("ps -o"));
      await rejectsWith(Code.DeadlineExceeded, node.exec(id, script, 1));
      await waitFor(async () => (await left()).length === 0, { message: "an ExecSync that took too long runs on" });
      for (const tty of [false, true]) {
        const streams = { stdin: true, stdout: true, tty };
        const { url } = await node.call("exec", {
          containerId: id,
          cmd: ["sh", "-c", script],
          stderr: false,
          ...streams,
        });
        const client = await connectRemote("websocket", url, streams);
        await waitFor(async () => (await left()).length >= 4);
        client.vanish();
        await waitFor(async () => (await left()).length === 0, {
          message: "the command of a client that has gone runs on",
        });
      }
      assert.match(await psIn(id), /sleep 600/);
    });
  });

  test("an exec's terminal is one, has the client's size, and follows it", async () => {
    await inPod(async (pod) => {
      const id = await node.runContainer(pod, "sleep 600");
      const streams = { stdin: true, stdout: true, tty: true };
      const script =
        "[ -t 0 ] && [ -t 2 ] && echo terminal; trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done";
      const { url } = await node.call("exec", {
        containerId: id,
        cmd: ["sh", "-c", script],
        stderr: false,
        ...streams,
      });
      const client = await connectRemote("websocket", url, streams);
      const said = (text: string) =>
        waitFor(() => client.stdout().toString().includes(text), { message: () => client.stdout().toString() });
      await said("terminal\r\nready\r\n");
      client.resize(101, 43);
      await said("43 101\r\n");
      await client.write("\u0003");
      assert.equal(parseStatus(await client.ended).exitCode, 130);
    });
  });

  test("containers see each other's processes where they share a PID namespace: the pod's, or another container's", async () => {
    await inPod(
      async (pod) => {
        const shared = (script: string): DeepPartial<ContainerConfig> => ({
          command: ["sh", "-c", script],
          linux: pidMode(NamespaceMode.POD),
        });
        const first = await node.runContainer(pod, shared("sleep 9701; true"));
        const second = await node.runContainer(pod, shared("sleep 9702; true"));
        assert.match(await psIn(second), /^ +1 +0 .*hold[^]*sleep 9701[^]*sleep 9702/m);
        const own = await node.runContainer(pod, {
          command: ["sh", "-c", "sleep 9703; true"],
          linux: pidMode(NamespaceMode.CONTAINER),
        });
        assert.doesNotMatch(await psIn(own), /hold|970[12]/);
        const target = { command: ["sh", "-c", "ps -o args"], linux: pidMode(NamespaceMode.TARGET, own) };
        assert.match(await node.outputOf(pod, target), /sleep 9703/);
        await node.stopContainer(first, 0);
        assert.doesNotMatch(await psIn(second), /9701/, "all of a container ends with it");
      },
      { linux: pidMode(NamespaceMode.POD) },
    );
  });

  test("the pod is reached by its address, reaches others, and has a hostname", async () => {
    await inPod(
      async (pod) => {
        const id = await node.runContainer(pod, "nc -ll -p 7001 -e cat");
        const { ip } = (await node.podStatus(pod.id)).network!;
        const answer = await waitFor(async () => {
          const socket = connect({ host: ip, port: 7001 });
          socket.write("over the bridge\n");
          return await new Promise<string | undefined>((resolve) =>
            socket
              .once("error", () => resolve(undefined))
              .once("data", (bytes) => resolve(bytes.toString()))
              .once("close", () => resolve(undefined)),
          ).finally(() => socket.destroy());
        });
        assert.equal(answer, "over the bridge\n");
        assert.equal(await node.output(id, "hostname"), "gv-0\n");
        const port = Number(new URL(`http://${node.image.split("/")[0]}`).port);
        assert.ok(port > 0);
        assert.match((await node.exec(id, `nc -w 2 ${hostAddress} 1 </dev/null; echo $?`)).stdout, /^1\n$/);
      },
      { hostname: "gv-0" },
    );
    assert.deepEqual(node.leftBehind(), [], "also the rules for the addresses that gVisor took over");
  });

  test("a pod in the host's network has it through gVisor", async () => {
    await inPod(
      async (pod) => {
        assert.match(
          await node.outputOf(pod, "ip -o addr; dmesg"),
          new RegExp(`${hostAddress.replaceAll(".", "\\.")}[^]*Starting gVisor`),
        );
      },
      {
        linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER } } },
      },
    );
  });

  test("ports are forwarded through the sandbox's own network", async () => {
    await inPod(async (pod) => {
      await node.runContainer(pod, "nc -ll -p 7002 -e cat");
      await delay(300);
      const { url } = await node.call("portForward", { podSandboxId: pod.id, port: [] });
      const { session } = await connectSpdy(url, { protocols: ["portforward.k8s.io"] });
      const open = (port: number, requestID: string) => {
        const error = session.open({ port: String(port), requestID, streamType: "error" });
        error.end();
        return {
          error: textOf(error),
          data: session.open({ port: String(port), requestID, streamType: "data" }).on("error", () => {}),
        };
      };
      const { data, error } = open(7002, "1");
      const bytes = Buffer.alloc(5_000_000, "forward ");
      data.end(bytes);
      assert.equal((await textOf(data)).length, bytes.length, "one end does not end the other");
      assert.equal(await error, "");
      assert.match(await open(9, "2").error, /port 9 of pod .*nothing listens there/);
      session.destroy();
    });
  });

  test("stats are gVisor's own numbers, and the writable layer is on the disk", async () => {
    await inPod(async (pod) => {
      const id = await node.runContainer(pod, "head -c 3000000 /dev/zero >/written; echo ready; while :; do :; done");
      const idle = await node.runContainer(pod, "sleep 600");
      await node.untilLogged(id, "ready");
      const stats = await waitFor(
        async () => {
          const { stats } = await node.call("containerStats", { containerId: id });
          return (stats?.cpu?.usageNanoCores?.value ?? 0n) > 20_000_000n &&
            (stats?.writableLayer?.usedBytes?.value ?? 0n) > 0n
            ? stats
            : undefined;
        },
        { timeoutMs: 30_000, message: "no rate of a busy container" },
      );
      assert.ok(stats.cpu!.usageCoreNanoSeconds!.value > 100_000_000n);
      assert.ok(stats.memory!.usageBytes!.value > 0n);
      assert.equal(stats.memory!.pageFaults, undefined, "what gVisor does not tell is not 0");
      const written = stats.writableLayer!.usedBytes!.value;
      assert.ok(written >= 3_000_000n && written < 4_000_000n, `${written}`);
      const { stats: other } = await node.call("containerStats", { containerId: idle });
      assert.ok(other!.cpu!.usageCoreNanoSeconds!.value < stats.cpu!.usageCoreNanoSeconds!.value / 2n);
      const { stats: ofPod } = await node.call("podSandboxStats", { podSandboxId: pod.id });
      assert.ok(ofPod!.linux!.cpu!.usageCoreNanoSeconds!.value >= stats.cpu!.usageCoreNanoSeconds!.value / 2n);
      assert.ok(ofPod!.linux!.memory!.usageBytes!.value > 10_000_000n, "the pod's is all of the sandbox's");
    });
  });

  test("limits of a single container are refused in words that say what holds", async () => {
    await inPod(async (pod) => {
      const id = await node.runContainer(pod, "sleep 600");
      const update = node.call("updateContainerResources", {
        containerId: id,
        linux: LinuxContainerResources.fromPartial({ memoryLimitInBytes: 64n << 20n }),
        windows: undefined,
        annotations: {},
      });
      await rejectsWith(
        Code.FailedPrecondition,
        update,
        /gVisor has no limits for a single container; the limits of the pod's cgroup apply/,
      );
    });
  });

  test("the pod's memory limit ends the sandbox: its containers are OOMKilled, the pod is not ready", async (t) => {
    const layout = detectCgroups();
    const parent = `/keelson-oom-${process.pid}`;
    const limitFile = layout.kind === "v2" ? "memory.max" : "memory.limit_in_bytes";
    for (const dir of cgroupDirs(layout, parent)) mkdirSync(dir);
    t.after(() => cgroupDirs(layout, parent).forEach((dir) => rmdirSync(dir)));
    writeFileSync(join(controllerDir(layout, parent, "memory")!, limitFile), String(200 << 20));
    await inPod(
      async (pod) => {
        const bystander = await node.runContainer(pod, "sleep 600");
        const id = await node.runContainer(pod, "dd if=/dev/zero of=/dev/null bs=400M");
        for (const each of [id, bystander]) {
          const { exitCode, reason, message } = await node.untilExited(each, 60_000);
          assert.deepEqual([exitCode, reason], [137, "OOMKilled"], message);
        }
        await waitFor(async () => (await node.podStatus(pod.id)).state === PodSandboxState.SANDBOX_NOTREADY);
      },
      { linux: { cgroupParent: parent } },
    );
  });

  test("when the sandbox is killed its containers end, the pod is not ready, and the next one is made", async () => {
    await inPod(async (pod) => {
      const started = await node.runContainer(pod, "sleep 600");
      const created = await node.createContainer(pod, "sleep 600");
      process.kill(await pidCalled(pod, "runsc-sandbox"), "SIGKILL");
      for (const id of [started, created]) assert.equal((await node.untilExited(id)).exitCode, 137);
      await waitFor(async () => (await node.podStatus(pod.id)).state === PodSandboxState.SANDBOX_NOTREADY);
      await rejectsWith(Code.FailedPrecondition, node.createContainer(pod, "true"));
    });
    await inPod(async (pod) => assert.equal(await node.outputOf(pod, "echo again"), "again"));
  });

  test("a container of a sandbox that hangs is stopped with its pod, and others are not held up", async () => {
    const other = await node.runPod();
    const bystander = await node.runContainer(other, "sleep 600");
    await inPod(async (pod) => {
      const id = await node.runContainer(pod, "sleep 600");
      process.kill(await pidCalled(pod, "runsc-sandbox"), "SIGSTOP");
      const stopped = node.stopContainer(id, 0);
      assert.equal(await node.output(bystander, "echo answers"), "answers\n");
      assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
      await stopped;
      assert.equal((await node.containerStatus(id)).exitCode, 137);
      await waitFor(async () => (await node.podStatus(pod.id)).state === PodSandboxState.SANDBOX_NOTREADY);
    });
    await node.removePod(other.id);
  });

  test("a daemon that is killed finds its sandboxes: logs are whole, exits are known, execs of before are ended", async () => {
    await inPod(async (pod) => {
      const counting = await node.runContainer(pod, "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done");
      const ending = await node.runContainer(pod, {
        command: ["sh", "-c", "while [ ! -e /host/go ]; do sleep 0.05; done; exit 42"],
        mounts: [{ hostPath: node.dir, containerPath: "/host" }],
      });
      const created = await node.createContainer(pod, "echo started later");
      const exec = node.exec(counting, "sleep 9873; true");
      exec.catch(() => {});
      await waitFor(async () => (await psIn(counting)).includes("sleep 9873"));
      await node.kill("SIGKILL");
      writeFileSync(join(node.dir, "go"), "");
      await delay(500);
      await node.startAgain();
      const { exitCode, reason } = await node.untilExited(ending);
      assert.deepEqual([exitCode, reason], [42, "Error"]);
      assert.equal((await node.podStatus(pod.id)).state, PodSandboxState.SANDBOX_READY);
      await waitFor(async () => !(await psIn(counting)).includes("sleep 9873"), {
        message: "an exec of the daemon before runs on",
      });
      await node.startContainer(created);
      assert.equal((await node.untilExited(created)).exitCode, 0);
      assert.deepEqual(linesOf(await node.log(created)), ["started later"]);
      assert.equal(await node.output(counting, "echo inside"), "inside\n");
      await node.stopContainer(counting, 0);
      const lines = linesOf(await node.log(counting));
      assert.ok(lines.length > 20);
      assert.deepEqual(
        lines,
        lines.map((_, i) => String(i + 1)),
      );
    });
    assert.ok(!existsSync(join(node.state, "runtimes/runsc")) || node.leftBehind().length === 0);
    assert.deepEqual(node.leftBehind(), []);
  });
});
