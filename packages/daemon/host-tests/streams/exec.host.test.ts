// Exec with clients by both transports: bytes, ends, exit codes, terminals, and what becomes of commands whose clients go.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe } from "node:test";
import { Code } from "@keelson/base/status.ts";
import {
  connectRemote,
  parseStatus,
  type RemoteClient,
  type Streams,
  transports,
} from "@keelson/streaming/testing/stream-clients.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
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
        return line.includes(word) ? [`${pid} ${line}`] : [];
      } catch {
        return [];
      }
    });
}

const useNode = shareNode();

for (const runtime of eachRuntime) {
  const test = testFor(runtime);
  describe(`Exec with ${runtime}`, { skip: skipFor(runtime), timeout: 240_000 }, () => {
    let node: TestNode;
    let pod: Pod;
    let id: string;
    useNode(async (shared) => {
      node = shared;
      pod = await node.runPod({}, runtime);
      id = await node.runContainer(pod, "echo up; sleep 600");
      await node.untilLogged(id, "up");
    });

    const urlOf = async (containerId: string, command: string | readonly string[], streams: Streams) => {
      const { stdin = false, stdout = false, stderr = false, tty = false } = streams;
      const cmd = typeof command === "string" ? ["sh", "-c", command] : [...command];
      return (await node.call("exec", { containerId, cmd, stdin, stdout, stderr, tty })).url;
    };

    test("is refused when it makes no sense", async () => {
      const request = { containerId: id, cmd: ["true"], stdin: false, stdout: true, stderr: false, tty: false };
      await rejectsWith(
        Code.InvalidArgument,
        node.call("exec", { ...request, stdout: false }),
        /one of stdin, stdout and stderr/,
      );
      await rejectsWith(
        Code.InvalidArgument,
        node.call("exec", { ...request, tty: true, stderr: true }),
        /tty and stderr/,
      );
      await rejectsWith(Code.InvalidArgument, node.call("exec", { ...request, cmd: [] }), /cmd/);
      await rejectsWith(Code.NotFound, node.call("exec", { ...request, containerId: "f".repeat(64) }));
      const created = await node.createContainer(pod, "true");
      await rejectsWith(
        Code.FailedPrecondition,
        node.call("exec", { ...request, containerId: created }),
        /not running/,
      );
      await node.removeContainer(created);
    });

    for (const transport of transports) {
      describe(`by ${transport}`, () => {
        const start = async (
          command: string | readonly string[],
          streams: Streams,
          containerId = id,
        ): Promise<RemoteClient> => connectRemote(transport, await urlOf(containerId, command, streams), streams);
        const output = { stdout: true, stderr: true };

        test("gives stdout, stderr and the exit code", async () => {
          const client = await start("echo out; echo err >&2; exit 3", output);
          const status = parseStatus(await client.ended);
          assert.deepEqual([client.stdout().toString(), client.stderr().toString()], ["out\n", "err\n"]);
          assert.deepEqual([status.status, status.reason, status.exitCode], ["Failure", "NonZeroExitCode", 3]);
          assert.equal(parseStatus(await (await start("true", output)).ended).status, "Success");
          assert.equal(parseStatus(await (await start("kill -9 $$", output)).ended).exitCode, 137);
        });

        test("gives bytes as they are, and takes them, to the end of input", async () => {
          const client = await start("tee /tmp/in | md5sum >&2; cat /tmp/in", { ...output, stdin: true });
          const bytes = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 31 + (i >> 8)) & 0xff));
          for (let at = 0; at < bytes.length; at += 50_000) await client.write(bytes.subarray(at, at + 50_000));
          client.endStdin();
          assert.equal(parseStatus(await client.ended).exitCode, 0);
          assert.ok(client.stdout().equals(bytes));
          assert.match(client.stderr().toString(), /^[0-9a-f]{32} /);
        });

        test("has streams that can be opened anew, and no terminal", async () => {
          const client = await start("echo out >/dev/stdout; echo err >/dev/stderr; tty", output);
          assert.equal(parseStatus(await client.ended).exitCode, 1);
          assert.deepEqual([client.stdout().toString(), client.stderr().toString()], ["out\nnot a tty\n", "err\n"]);
        });

        test("loses nothing that was written before the end, however slowly it is read", async () => {
          const client = await start("head -c 3000000 /dev/zero", { stdout: true });
          client.pause();
          await new Promise((resolve) => setTimeout(resolve, 500));
          client.resume();
          assert.equal(parseStatus(await client.ended).exitCode, 0);
          assert.equal(client.stdout().length, 3_000_000);
        });

        test("a client that does not read holds up its command, not the daemon's memory", async () => {
          const resident = () =>
            Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${node.pid}/status`, "utf8"))![1]) / 1024;
          const before = resident();
          const client = await start("yes 4711", { stdout: true });
          client.pause();
          await new Promise((resolve) => setTimeout(resolve, 1500));
          assert.ok(resident() - before < 60, `${before} MiB before, ${resident()} now`);
          client.vanish();
          await waitFor(() => processesWith("yes 4711").length === 0, {
            message: () => processesWith("yes 4711").join("\n"),
          });
        });

        test("has a terminal of the size that the client says, from the first byte on, and follows it", async () => {
          const streams = { stdin: true, stdout: true, tty: true };
          const client = await start(
            "stty size; tty; trap 'stty size' WINCH; echo ready; while true; do sleep 0.1; done",
            streams,
          );
          client.resize(101, 43);
          await waitFor(() => client.stdout().toString().includes("ready"));
          // runc settles who writes the carriage return a moment after the command's start.
          assert.match(
            client.stdout().toString().replace("\r\r\n", "\r\n"),
            /^43 101\r\n\/dev\/(pts\/\d+|console)\r\nready\r\n$/,
          );
          client.resize(90, 30);
          await waitFor(() => client.stdout().toString().includes("30 90"), {
            message: () => client.stdout().toString(),
          });
          // Ctrl-C: a signal, from the terminal.
          await client.write("\u0003");
          assert.equal(parseStatus(await client.ended).exitCode, 130);
        });

        test("a shell on a terminal echoes, and its end is told", async () => {
          const client = await start(["sh"], { stdin: true, stdout: true, tty: true });
          client.resize(80, 24);
          await client.write("echo $((6*7)); exit 5\n");
          assert.equal(parseStatus(await client.ended).exitCode, 5);
          assert.match(client.stdout().toString(), /echo \$\(\(6\*7\)\); exit 5\r\n42\r\n/);
        });

        test("a short command on a terminal loses nothing", async () => {
          const streams = { stdin: true, stdout: true, tty: true };
          const outputs = await Promise.all(
            Array.from({ length: 20 }, async (_, i) => {
              const client = await start(["echo", "-n", `hello ${i}`], streams);
              client.resize(80, 24);
              return [parseStatus(await client.ended).exitCode, client.stdout().toString()];
            }),
          );
          assert.deepEqual(
            outputs,
            outputs.map((_, i) => [0, `hello ${i}`]),
          );
        });

        test("a client that vanishes takes the command with it, whole", async () => {
          const client = await start("trap '' TERM HUP; sleep 9871 & setsid sleep 9871 & sleep 9871", {
            ...output,
            stdin: true,
          });
          await waitFor(() => processesWith("sleep 9871").length >= 3);
          client.vanish();
          await waitFor(() => processesWith("sleep 9871").length === 0, {
            message: () => processesWith("sleep 9871").join("\n"),
          });
          const onTerminal = await start("sleep 9872 & sleep 9872", { stdin: true, stdout: true, tty: true });
          await waitFor(() => processesWith("sleep 9872").length >= 2);
          onTerminal.vanish();
          await waitFor(() => processesWith("sleep 9872").length === 0, {
            message: () => processesWith("sleep 9872").join("\n"),
          });
        });

        test("says what cannot be run, with the exit code of shells", async () => {
          for (const [command, exitCode] of [
            ["no-such-program", 127],
            ["/no/such/program", 127],
            ["/etc/passwd", 126],
            ["/tmp", 126],
          ] as const) {
            const client = await start([command], output);
            const status = parseStatus(await client.ended);
            assert.deepEqual([status.status, status.exitCode], ["Failure", exitCode]);
            assert.ok(status.message?.includes(command));
          }
          const onTerminal = await start(["no-such-program"], { stdout: true, tty: true });
          assert.equal(parseStatus(await onTerminal.ended).exitCode, 127);
        });

        test("is not held up by a background process that keeps the streams open", async () => {
          const startedMs = performance.now();
          const client = await start("sleep 7 & echo done", output);
          assert.equal(parseStatus(await client.ended).exitCode, 0);
          assert.equal(client.stdout().toString(), "done\n");
          assert.ok(performance.now() - startedMs < 4000);
        });

        test("ends when its container is stopped meanwhile", async () => {
          const own = await node.runContainer(pod, "sleep 600");
          const client = await start("echo up; sleep 600", output, own);
          await waitFor(() => client.stdout().toString() === "up\n");
          await node.stopContainer(own, 0);
          assert.equal(parseStatus(await client.ended).exitCode, 137);
          await node.removeContainer(own);
        });

        test("runs many at once, each with its own streams, and leaves no file", async () => {
          const { bundle } = await node.containerInfo(id);
          const files = readdirSync(bundle).sort();
          const results = await Promise.all(
            Array.from({ length: 40 }, async (_, i) => {
              const client = await start(`cat; echo ${i} >&2; exit ${i}`, { ...output, stdin: true });
              await client.write(`in ${i}`);
              client.endStdin();
              const status = parseStatus(await client.ended);
              return [client.stdout().toString(), client.stderr().toString(), status.exitCode];
            }),
          );
          assert.deepEqual(
            results,
            results.map((_, i) => [`in ${i}`, `${i}\n`, i]),
          );
          await waitFor(() => readdirSync(bundle).length === files.length);
        });
      });
    }

    test("is no safer from the OOM killer than its container, with ExecSync and with a terminal too", async () => {
      const own = await node.runContainer(pod, {
        command: ["sleep", "600"],
        linux: { resources: { oomScoreAdj: 500 } },
      });
      assert.equal(await node.output(own, ["cat", "/proc/self/oom_score_adj"]), "500\n");
      for (const streams of [
        { stdout: true, stderr: true },
        { stdout: true, tty: true },
      ]) {
        const client = await connectRemote(
          "spdy",
          await urlOf(own, ["cat", "/proc/self/oom_score_adj"], streams),
          streams,
        );
        await client.ended;
        assert.equal(client.stdout().toString().trim(), "500");
      }
      await node.removeContainer(own);
    });

    test("speaks the older protocols, whose errors are text", async () => {
      const spdy = async (protocol: string, command: string) => {
        const streams = { stdout: true, stderr: true };
        const client = await connectRemote("spdy", await urlOf(id, command, streams), streams, protocol);
        return [await client.ended, client.stdout().toString()];
      };
      for (const protocol of ["v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"]) {
        assert.deepEqual(await spdy(protocol, "echo out"), ["", "out\n"]);
        assert.match((await spdy(protocol, "exit 7"))[0]!, /exit code 7/);
      }
      for (const protocol of [
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "channel.k8s.io",
        "base64.channel.k8s.io",
        "",
      ]) {
        const streams = { stdin: true, stdout: true, stderr: true };
        const client = await connectRemote(
          "websocket",
          await urlOf(id, "read line; echo got $line; exit 6", streams),
          streams,
          protocol,
        );
        await client.write("words\n");
        const text = await client.ended;
        assert.equal(client.stdout().toString(), "got words\n");
        if (protocol.startsWith("v4")) assert.equal(parseStatus(text).exitCode, 6);
        else assert.match(text, /exit code 6/);
      }
    });
  });
}
