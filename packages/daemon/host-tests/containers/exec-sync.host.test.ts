// ExecSync: probes and lifecycle hooks of a kubelet.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { ContainerState, NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { slowness, waitFor } from "@keelson/testkit/wait.ts";
import { eachRuntime, skipFor, testFor } from "../testing/each-runtime.ts";
import { shareNode } from "../testing/shared-node.ts";
import { type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

/** The command lines of all processes that have a word in it. */
function processesWith(word: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
        return line.split(/\W+/).includes(word) ? [`${pid} ${line}`] : [];
      } catch {
        return [];
      }
    });
}

const useNode = shareNode();

for (const runtime of eachRuntime) {
  const test = testFor(runtime);
  describe(`ExecSync with ${runtime}`, { skip: skipFor(runtime), concurrency: 3 }, () => {
    let node: TestNode;
    let pod: Pod;
    let id: string;
    useNode(async (shared) => {
      node = shared;
      pod = await node.runPod({}, runtime);
      id = await node.runContainer(pod, "echo up; sleep 600");
      await node.untilLogged(id, "up");
    });

    test("gives stdout, stderr and the exit code", async () => {
      assert.deepEqual(await node.exec(id, ["echo", "-n", "hello"]), { stdout: "hello", stderr: "", exitCode: 0 });
      assert.deepEqual(await node.exec(id, "echo out; echo err >&2; exit 3"), {
        stdout: "out\n",
        stderr: "err\n",
        exitCode: 3,
      });
      assert.deepEqual(await node.exec(id, ["false"]), { stdout: "", stderr: "", exitCode: 1 });
      assert.equal((await node.exec(id, "exit 255")).exitCode, 255);
      assert.equal((await node.exec(id, "kill -9 $$")).exitCode, 137);
      assert.equal((await node.exec(id, "kill -TERM $$")).exitCode, 143);
    });

    test("gives bytes as they are", async () => {
      const { stdout } = await node.call("execSync", {
        containerId: id,
        cmd: ["sh", "-c", "head -c 300000 /dev/urandom >/tmp/r; cat /tmp/r; md5sum /tmp/r >&2"],
        timeout: 10n,
      });
      assert.equal(stdout.length, 300_000);
      const again = await node.call("execSync", { containerId: id, cmd: ["cat", "/tmp/r"], timeout: 10n });
      assert.ok(Buffer.from(stdout).equals(Buffer.from(again.stdout)));
    });

    test("caps each stream at 16 MiB and lets the command end", async () => {
      const cap = 16 * 1024 * 1024;
      const script = "head -c 18000000 /dev/zero; head -c 17000000 /dev/zero >&2; echo the end >/tmp/end; exit 4";
      const { stdout, stderr, exitCode } = await node.call("execSync", {
        containerId: id,
        cmd: ["sh", "-c", script],
        timeout: 30n,
      });
      assert.deepEqual([stdout.length, stderr.length, exitCode], [cap, cap, 4]);
      assert.equal(await node.output(id, "cat /tmp/end"), "the end\n");
    });

    test("lets a command open its own streams anew", async () => {
      assert.deepEqual(await node.exec(id, "echo out >/dev/stdout; echo err >/dev/stderr; echo fd >/proc/self/fd/1"), {
        stdout: "out\nfd\n",
        stderr: "err\n",
        exitCode: 0,
      });
    });

    test("has an empty stdin", async () => {
      assert.deepEqual(await node.exec(id, "wc -c; tty"), { stdout: "0\nnot a tty\n", stderr: "", exitCode: 1 });
    });

    test("runs where the container runs: environment, directory, cgroup, namespaces", async () => {
      const own = await node.runContainer(pod, {
        command: ["sleep", "600"],
        workingDir: "/var/www",
        envs: [{ key: "A", value: Buffer.from("b c") }],
      });
      assert.equal(
        await node.output(own, "echo $A; pwd; hostname"),
        `b c\n/var/www\n${(await node.output(id, "hostname")).trim()}\n`,
      );
      const main = readFileSync(`/proc/${(await node.containerInfo(own)).pid}/cgroup`, "utf8");
      const inside = await node.output(own, "sed s,/init$,, /proc/self/cgroup");
      const memory = (text: string) => /memory:(.*)/.exec(text)?.[1]?.split("/").at(-1);
      assert.equal(memory(inside), memory(main));
      assert.equal(await node.output(own, "tr '\\0' ' ' </proc/1/cmdline"), "sleep 600 ");
      await node.removeContainer(own);
    });

    test("answers DeadlineExceeded when the time is over, and the command is gone", async () => {
      const startedMs = performance.now();
      await rejectsWith(Code.DeadlineExceeded, node.exec(id, ["sleep", "4321"], 1), /sleep.*1 s/);
      assert.ok(performance.now() - startedMs < 30_000 * slowness);
      await waitFor(() => processesWith("4321").length === 0, { message: () => processesWith("4321").join("\n") });
      assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
    });

    test("kills the whole tree with it: children, grandchildren, those that ignore signals, sessions of their own", async () => {
      const script =
        "trap '' TERM INT HUP; sleep 5432 & (sleep 5432 & sleep 5432) & setsid sleep 5432 & setsid sh -c 'trap \"\" TERM; sleep 5432; true' & wait";
      await rejectsWith(Code.DeadlineExceeded, node.exec(id, script, 1));
      await waitFor(() => processesWith("5432").length === 0, {
        timeoutMs: 3000,
        message: () => processesWith("5432").join("\n"),
      });
    });

    test("ends with the caller's own deadline too, and the command is gone", async () => {
      const call = node.call(
        "execSync",
        { containerId: id, cmd: ["sh", "-c", "sleep 6543 & wait"], timeout: 0n },
        AbortSignal.timeout(700),
      );
      await rejectsWith(Code.DeadlineExceeded, call);
      await waitFor(() => processesWith("6543").length === 0, { message: () => processesWith("6543").join("\n") });
    });

    test("is not held up by a background process that keeps the streams open", async () => {
      const startedMs = performance.now();
      assert.equal((await node.exec(id, `sleep ${60 * slowness} & echo done`)).stdout, "done\n");
      assert.ok(performance.now() - startedMs < 30_000 * slowness);
    });

    test("says what cannot be run, and why", async () => {
      for (const command of ["/no/such/program", "no-such-program", "/etc/passwd", "/tmp"]) {
        const outcome = await node.exec(id, [command]).then(
          ({ exitCode, stderr }) => ({ exitCode, text: stderr }),
          (error: unknown) => ({ exitCode: 127, text: String(error) }),
        );
        assert.notEqual(outcome.exitCode, 0);
        assert.ok(outcome.text.includes(command), `${command}: ${outcome.text}`);
      }
      assert.equal(await node.output(id, "echo still there"), "still there\n");
    });

    test("runs thirty at once", async () => {
      const outputs = await Promise.all(Array.from({ length: 30 }, (_, i) => node.exec(id, `echo ${i}; exit ${i}`)));
      assert.deepEqual(
        outputs,
        outputs.map((_, i) => ({ stdout: `${i}\n`, stderr: "", exitCode: i })),
      );
    });

    test("leaves no file and no process", async () => {
      const own = await node.runContainer(pod, { command: ["sleep", "600"] });
      const { bundle } = await node.containerInfo(own);
      const files = readdirSync(bundle).sort();
      await Promise.all(Array.from({ length: 5 }, () => node.exec(own, "true")));
      assert.deepEqual(readdirSync(bundle).sort(), files);
      assert.equal(
        (await node.output(own, "set -- /proc/[0-9]*; echo $#")).trim(),
        "2",
        "the container's process and the one that counts",
      );
      await node.removeContainer(own);
    });

    test("works in the shared PID namespace of a pod and in that of the host", async () => {
      for (const pid of [NamespaceMode.POD, NamespaceMode.NODE]) {
        const own = await node.runPod({ linux: { securityContext: { namespaceOptions: { pid } } } }, runtime);
        const inside = await node.runContainer(own, {
          command: ["sleep", "600"],
          linux: { securityContext: { namespaceOptions: { pid } } },
        });
        assert.equal(await node.output(inside, ["echo", "hello"]), "hello\n");
        await rejectsWith(Code.DeadlineExceeded, node.exec(inside, "setsid sleep 8765 & sleep 8765", 1));
        await waitFor(() => processesWith("8765").length === 0, { message: () => processesWith("8765").join("\n") });
        await node.removePod(own.id);
      }
    });

    test("ends when the container is stopped meanwhile", async () => {
      const own = await node.runContainer(pod, "sleep 600");
      const running = node.exec(own, "echo up >/tmp/up; sleep 600");
      await waitFor(async () => (await node.exec(own, "cat /tmp/up")).exitCode === 0);
      await node.stopContainer(own, 0);
      assert.equal((await running).exitCode, 137);
    });
  });
}

test(
  "a runtime ends by itself when its command was killed, and has reaped it before the caller is told",
  { skip },
  async () => {
    const dir = mkdtempSync("/run/keelson-wrapped-");
    try {
      const wrapper = join(dir, "crun");
      writeFileSync(
        wrapper,
        `#!/bin/sh\ncase "$*" in *" exec "*) ;; *) exec crun "$@" ;; esac\ncrun "$@"; code=$?; echo $code >>${dir}/ends; exit $code\n`,
        { mode: 0o755 },
      );
      await using node = await TestNode.start({ config: `[runtimes.wrapped]\npath = "${wrapper}"\n` });
      const pod = await node.runPod({}, "wrapped");
      const id = await node.runContainer(pod, "sleep 600");
      await rejectsWith(Code.DeadlineExceeded, node.exec(id, ["sleep", "4322"], 1));
      assert.equal(readFileSync(join(dir, "ends"), "utf8"), "137\n");
    } finally {
      rmSync(dir, { recursive: true });
    }
  },
);
