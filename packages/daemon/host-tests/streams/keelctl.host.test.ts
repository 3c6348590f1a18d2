// keelctl's streams and live views against a real daemon.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { connect } from "node:net";
import { text as textOf } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { Pty, terminalStream } from "@keelson/linux/pty.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { keelctl, type Pod, TestNode } from "../testing/test-node.ts";

interface Output {
  code: number | null;
  stdout: string;
  stderr: string;
}

describe("keelctl's streams", { skip }, () => {
  let node: TestNode;
  let pod: Pod;
  let id: string;
  before(async () => {
    node = await TestNode.start();
    pod = await node.runPod({ metadata: { name: "web", namespace: "default", uid: "web-uid", attempt: 0 } });
    id = await node.runContainer(
      pod,
      "mkdir -p /www; echo served > /www/index.html; busybox httpd -p 8080 -h /www; while true; do sleep 0.1; done",
    );
  });
  after(() => node[Symbol.asyncDispose]());

  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const start = (args: readonly string[], stdio: ("pipe" | number)[] = ["pipe", "pipe", "pipe"]) =>
    spawn(keelctl, ["-r", node.endpoint, ...args], { stdio, env, timeout: 60_000 });
  const outputOf = async (child: ChildProcess): Promise<Output> => {
    const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
    const [stdout, stderr] = await Promise.all([textOf(child.stdout!), textOf(child.stderr!)]);
    return { code: await ended, stdout, stderr };
  };
  const run = (args: readonly string[], stdin?: Buffer) => {
    const child = start(args);
    child.stdin!.end(stdin);
    return outputOf(child);
  };

  for (const transport of ["spdy", "websocket"]) {
    test(`exec over ${transport}: both outputs, the exit code, stdin to its end`, async () => {
      assert.deepEqual(await run(["exec", "-r", transport, id, "sh", "-c", "echo out; echo err >&2; exit 7"]), {
        code: 7,
        stdout: "out\n",
        stderr: "err\n",
      });
      const bytes = randomBytes(3_000_000);
      const sum = `${createHash("md5").update(bytes).digest("hex")}  -\n`;
      assert.deepEqual(await run(["exec", "-i", "-r", transport, id, "md5sum"], bytes), {
        code: 0,
        stdout: sum,
        stderr: "",
      });
      const { code, stderr } = await run(["exec", "-r", transport, id, "no-such-command"]);
      assert.equal(code, 127);
      assert.match(stderr, /no-such-command/);
    });

    test(`port-forward over ${transport}: many connections, and one to a port that is closed`, async () => {
      const child = start(["port-forward", "-r", transport, pod.id, ":8080", ":9"]);
      const output = outputOf(child);
      let said = "";
      child.stdout!.on("data", (data) => (said += String(data)));
      const portOf = (podPort: number) =>
        Number(new RegExp(`^Forwarding from 127\\.0\\.0\\.1:(\\d+) -> ${podPort}$`, "m").exec(said)?.[1]);
      await waitFor(() => portOf(9) > 0);
      const ask = async (port: number) => {
        const socket = connect(port, "127.0.0.1");
        socket.on("error", () => {});
        socket.write("GET / HTTP/1.0\r\n\r\n");
        return (await textOf(socket).catch(() => "")).split("\r\n\r\n")[1] ?? "";
      };
      assert.equal(await ask(portOf(9)), "");
      const answers = await Promise.all(Array.from({ length: 20 }, () => ask(portOf(8080))));
      assert.deepEqual(new Set(answers), new Set(["served\n"]));
      child.kill("SIGINT");
      const { code, stderr } = await output;
      assert.equal(code, 0);
      assert.match(stderr, /^keelctl: a connection to port 9: .*nothing listens there.*\n$/);
    });

    test(`a terminal over ${transport}: its size, the keys that detach, and its modes afterwards`, async () => {
      const own = await node.runContainer(pod, {
        command: ["sh", "-c", "trap 'exit 4' USR1; echo ready; while read line; do echo got $line $(stty size); done"],
        stdin: true,
        tty: true,
      });
      using pty = new Pty();
      pty.master.resize({ rows: 33, columns: 101 });
      execFileSync("stty", ["sane"], { stdio: [pty.slaveFd, "ignore", "inherit"] });
      const modes = () => execFileSync("stty", ["-g"], { stdio: [pty.slaveFd, "pipe", "inherit"], encoding: "utf8" });
      const before = modes();
      let screen = "";
      const terminal = terminalStream(pty.master.duplicate());
      terminal.setEncoding("utf8").on("data", (data: string) => (screen += data));
      const attach = async (end: (child: ChildProcess) => Promise<void> | void) => {
        const child = start(["attach", "-it", "-r", transport, own], [pty.slaveFd, pty.slaveFd, pty.slaveFd]);
        const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
        await waitFor(() => modes() !== before, { message: "the terminal is not raw" });
        await end(child);
        const code = await ended;
        assert.equal(modes(), before);
        return code;
      };
      const detached = await attach(async (child) => {
        await waitFor(async () => {
          screen = "";
          terminal.write("hello\n");
          return waitFor(() => screen.includes("got hello 33 101"), { timeoutMs: 500 }).then(
            () => true,
            () => false,
          );
        });
        pty.master.resize({ rows: 50, columns: 120 });
        child.kill("SIGWINCH");
        await waitFor(async () => {
          terminal.write("again\n");
          return waitFor(() => screen.includes("got again 50 120"), { timeoutMs: 500 }).then(
            () => true,
            () => false,
          );
        });
        terminal.write("\u0010\u0011");
      });
      assert.equal(detached, 0);
      assert.match(screen, /detached from container/);
      assert.equal((await node.containerStatus(own)).state, 1, "it runs on");
      assert.equal(await attach((child) => void child.kill("SIGTERM")), 143);
      const code = await attach(async () => {
        terminal.write("\u0004");
      });
      assert.equal(code, (await node.untilExited(own)).exitCode);
    });
  }

  test("tells what containers use, what happened, and how the pod came up", async () => {
    const text = async (...args: string[]) => {
      const { code, stdout, stderr } = await run(args);
      assert.equal(code, 0, `keelctl ${args.join(" ")}: ${stderr}`);
      return stdout;
    };
    assert.match(
      await text("stats", "-s", "0.2"),
      new RegExp(`^${id.slice(0, 13)} +\\S+ +\\d+\\.\\d\\d +[1-9]\\S*B `, "m"),
    );
    assert.match(
      await text("statsp", "-s", "0.2"),
      new RegExp(`^web +${pod.id.slice(0, 13)} +\\d+\\.\\d\\d +[1-9]\\S*B$`, "m"),
    );
    assert.match(
      await text("top", "-n", "1", "-s", "0.2", "--sort", "memory"),
      /^default +web +\S+ +\d+\.\d +[1-9]\S*B /m,
    );
    assert.match(
      await text("events", "-o", "table", "--id", id, "-n", "2"),
      /^\S+ {2}created {2}.*\n\S+ {2}started {2}.* of default\/web\n$/,
    );
    assert.match(await text("ps", "-o", "wide", "--id", id), / 10\.99\.\S+ +- +- +0 +crun \(default\)\n$/);
    assert.match(await text("pods", "-o", "wide", "--id", pod.id), / 10\.99\.\S+ +\d+\/\d+\n$/);
    assert.ok((JSON.parse(await text("metricdescs")) as { descriptors: unknown[] }).descriptors.length > 40);
    assert.match(await text("runtime-config"), /^cgroup driver: (SYSTEMD|CGROUPFS)\n$/);
    assert.match(await text("imagefsinfo", "-o", "table"), new RegExp(`Mountpoint: ${node.root}`));
    const waterfall = await text("trace", pod.id);
    assert.match(waterfall, /^RunPodSandbox .*█.* ms$/m);
    assert.match(waterfall, /^ {2}\S.*▒.* ms$/m);
    assert.match(waterfall, /^StartContainer .* ms$/m);
    assert.match(await text("trace", "-o", "html", pod.id), /<title>default\/web/);
    const checkpoint = await run(["checkpoint", "--export", "/nowhere/x.tar", id]);
    assert.deepEqual([checkpoint.code, checkpoint.stdout], [1, ""]);
    assert.match(checkpoint.stderr, /checkpoint/);
  });
});
