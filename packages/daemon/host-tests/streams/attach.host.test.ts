// Attach with clients by both transports, to containers that conmon holds.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { Code } from "@keelson/base/status.ts";
import { ContainerState } from "@keelson/cri/gen/runtime/v1/api.ts";
import {
  connectRemote,
  parseStatus,
  type RemoteClient,
  type Streams,
  type Transport,
  transports,
} from "@keelson/streaming/testing/stream-clients.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

describe("Attach", { skip, timeout: 240_000 }, () => {
  let node: TestNode;
  let pod: Pod;
  before(async () => {
    node = await TestNode.start();
    pod = await node.runPod();
  });
  after(() => node[Symbol.asyncDispose]());

  const urlOf = async (containerId: string, streams: Streams) => {
    const { stdin = false, stdout = false, stderr = false, tty = false } = streams;
    return (await node.call("attach", { containerId, stdin, stdout, stderr, tty })).url;
  };
  const all = { stdin: true, stdout: true, stderr: true };
  const until = (client: RemoteClient, text: string) =>
    waitFor(() => client.stdout().toString().includes(text), { message: () => client.stdout().toString() });

  test("is refused when it makes no sense", async () => {
    const id = await node.runContainer(pod, "sleep 600");
    const request = { containerId: id, stdin: false, stdout: true, stderr: true, tty: false };
    await rejectsWith(
      Code.InvalidArgument,
      node.call("attach", { ...request, stdout: false, stderr: false }),
      /one of stdin, stdout and stderr/,
    );
    await rejectsWith(
      Code.InvalidArgument,
      node.call("attach", { ...request, stderr: false, tty: true }),
      /created without a terminal/,
    );
    await rejectsWith(Code.NotFound, node.call("attach", { ...request, containerId: "f".repeat(64) }));
    const { url } = await node.call("attach", request);
    await node.removeContainer(id);
    const client = await connectRemote("spdy", url, { stdout: true, stderr: true });
    const status = parseStatus(await client.ended);
    assert.deepEqual([status.status, status.reason], ["Failure", "InternalError"]);
  });

  for (const transport of transports) {
    describe(`by ${transport}`, () => {
      const attach = async (id: string, streams: Streams, by: Transport = transport): Promise<RemoteClient> =>
        connectRemote(by, await urlOf(id, streams), streams);

      test("gives what is written from now on, stdout and stderr apart, and ends with the container", async () => {
        const id = await node.runContainer(pod, {
          command: ["sh", "-c", "echo before; while read line; do echo out $line; echo err $line >&2; done; echo end"],
          stdin: true,
          stdinOnce: true,
        });
        await node.untilLogged(id, "before");
        const client = await attach(id, all);
        await client.write("one\ntwo\n");
        await until(client, "out two");
        client.endStdin();
        assert.equal(parseStatus(await client.ended).status, "Success");
        assert.equal(client.stdout().toString(), "out one\nout two\nend\n");
        assert.equal(client.stderr().toString(), "err one\nerr two\n");
        assert.equal((await node.untilExited(id)).exitCode, 0);
        assert.deepEqual(
          (await node.log(id)).filter((entry) => entry.stream === "stdout").map((entry) => entry.text),
          ["before", "out one", "out two", "end"],
        );
      });

      test("takes large inputs whole", async () => {
        const id = await node.runContainer(pod, { command: ["md5sum"], stdin: true, stdinOnce: true });
        const client = await attach(id, all);
        for (let i = 0; i < 40; i += 1) await client.write(Buffer.alloc(50_000, i));
        client.endStdin();
        assert.equal(parseStatus(await client.ended).status, "Success");
        const sum = createHash("md5");
        for (let i = 0; i < 40; i += 1) sum.update(Buffer.alloc(50_000, i));
        assert.equal(client.stdout().toString(), `${sum.digest("hex")}  -\n`);
      });

      test("clients of an open stdin come and go, many at once, and the container goes on", async () => {
        const id = await node.runContainer(pod, {
          command: ["sh", "-c", "while read line; do echo got $line; done; echo closed"],
          stdin: true,
        });
        const [first, onlooker, last] = await Promise.all([
          attach(id, all),
          attach(id, { stdout: true }),
          attach(id, all, "spdy"),
        ]);
        // Each sees what is written once it is attached, which the others do not wait for.
        await waitFor(async () => {
          await first.write("a\n");
          await delay(50);
          return [first, onlooker, last].every((client) => client.stdout().toString().includes("got a"));
        });
        first.vanish();
        await last.write("b\n");
        await until(onlooker, "got b");
        // The end of a client's input is the end of its visit, not of the container's input.
        last.endStdin();
        assert.equal(parseStatus(await last.ended).status, "Success");
        const again = await attach(id, all);
        await again.write("c\n");
        await until(again, "got c");
        assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
        for (const client of [onlooker, again]) client.vanish();
        await node.removeContainer(id);
      });

      test("a client without stdin does not end the one input of a container", async () => {
        const id = await node.runContainer(pod, {
          command: ["sh", "-c", "echo up; read line; echo got $line"],
          stdin: true,
          stdinOnce: true,
        });
        await node.untilLogged(id, "up");
        const onlooker = await attach(id, { stdout: true });
        onlooker.vanish();
        await delay(300);
        assert.equal((await node.containerStatus(id)).state, ContainerState.CONTAINER_RUNNING);
        const client = await attach(id, all);
        await client.write("words\n");
        await until(client, "got words");
        await client.ended;
      });

      test("a terminal has the client's size, echoes, and takes Ctrl-C", async () => {
        const streams = { stdin: true, stdout: true, tty: true };
        const id = await node.runContainer(pod, { command: ["sh"], stdin: true, tty: true });
        const client = await attach(id, streams);
        client.resize(101, 43);
        await waitFor(async () => {
          await client.write("stty size\n");
          await delay(100);
          return client.stdout().toString().includes("43 101");
        });
        await client.write("sleep 600\n");
        await delay(200);
        await client.write("\u0003");
        await client.write("echo $((6*7))\n");
        await until(client, "42");
        await client.write("exit 3\n");
        assert.equal(parseStatus(await client.ended).status, "Success");
        assert.equal((await node.untilExited(id)).exitCode, 3);
      });

      test("a client that does not read holds up neither the container nor the daemon", async () => {
        const resident = () =>
          Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${node.pid}/status`, "utf8"))![1]) / 1024;
        const id = await node.runContainer(
          pod,
          "echo up; sleep 1; head -c 60000000 /dev/zero | tr '\\0' x; echo; touch /tmp/all; sleep 600",
        );
        const before = resident();
        const client = await attach(id, { stdout: true });
        client.pause();
        await waitFor(async () => (await node.exec(id, "cat /tmp/all")).exitCode === 0, { timeoutMs: 60_000 });
        assert.ok(resident() - before < 80, `${before} MiB before, ${resident()} now`);
        client.resume();
        const status = parseStatus(await client.ended);
        assert.match(status.message ?? "", /reads too slowly/);
        await node.removeContainer(id);
      });
    });
  }

  test("a restart of the daemon ends attachments and leaves the containers as they are", async () => {
    const id = await node.runContainer(pod, {
      command: ["sh", "-c", "while read line; do echo got $line; done"],
      stdin: true,
    });
    const client = await connectRemote("spdy", await urlOf(id, all), all);
    await client.write("a\n");
    await until(client, "got a");
    await node.stop();
    assert.match(parseStatus(await client.ended).message ?? "", /being stopped/);
    await node.startAgain();
    const again = await connectRemote("websocket", await urlOf(id, all), all);
    await again.write("b\n");
    await until(again, "got b");
    await node.kill("SIGKILL");
    await again.ended;
    await node.startAgain();
    const third = await connectRemote("spdy", await urlOf(id, all), all);
    await third.write("c\n");
    await until(third, "got c");
    third.vanish();
  });
});
