// PortForward with clients by SPDY, by SPDY in a WebSocket, and by the old WebSocket channels, into pods of both kinds of network.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import type { Duplex } from "node:stream";
import { after, before, describe, test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { NamespaceMode } from "@keelson/cri/gen/runtime/v1/api.ts";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import { SpdySession } from "@keelson/spdy/session.ts";
import type { SpdyStream } from "@keelson/spdy/stream.ts";
import { openWebSocket } from "@keelson/streaming/testing/stream-clients.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { createWebSocketStream } from "ws";
import { type Pod, rejectsWith, TestNode } from "../testing/test-node.ts";

const ways = ["spdy", "tunnel"] as const;

/** Reads to the end and leaves the other half open. */
async function textOf(stream: Duplex): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of stream.iterator({ destroyOnReturn: false })) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

/**
 * Servers in a pod's network: 7001 echoes, 7002 counts to the end, 7003 sends a lot, 7004 is on ::1 alone, 7005 reads 10
 * bytes, answers 300,000 and closes, 7006 ends its half first and then counts; on stdout, opens, closes and counts.
 */
const servers = `
  const { createServer } = require("node:net");
  const { readSync } = require("node:fs");
  const serve = (port, host, on) => createServer({ allowHalfOpen: true }, (socket) => {
    console.log("open " + port);
    socket.on("error", () => {}).on("close", () => console.log("closed " + port));
    on(socket);
  }).listen(port, host, () => console.log("up " + port));
  serve(7001, "127.0.0.1", (socket) => socket.pipe(socket));
  serve(7002, "127.0.0.1", (socket) => {
    let length = 0;
    socket.on("data", (bytes) => length += bytes.length).on("end", () => socket.end(String(length)));
  });
  serve(7003, "127.0.0.1", (socket) => socket.end(Buffer.alloc(20_000_000)));
  serve(7004, "::1", (socket) => socket.end("six"));
  createServer({ pauseOnConnect: true }, (socket) => {
    socket.on("error", () => {});
    const answer = () => {
      try {
        readSync(socket._handle.fd, Buffer.alloc(10));
      } catch {
        return setTimeout(answer, 2);
      }
      socket.write(Buffer.alloc(300_000), () => socket.destroy());
    };
    answer();
  }).listen(7005, "127.0.0.1", () => console.log("up 7005"));
  serve(7006, "127.0.0.1", (socket) => {
    let length = 0;
    socket.end("first");
    socket.on("data", (bytes) => length += bytes.length).on("end", () => console.log("7006 has " + length));
  });`;

describe("PortForward", { skip, timeout: 240_000 }, () => {
  let node: TestNode;
  let pod: Pod;
  let podServers: { said: () => string };
  const stop = new DisposableStack();
  before(async () => {
    node = await TestNode.start();
    pod = await node.runPod();
    podServers = await startServers(pod.id);
  });
  after(async () => {
    stop.dispose();
    await node[Symbol.asyncDispose]();
  });

  /** What they have said so far. */
  const startServers = async (podId: string): Promise<{ said: () => string; kill: () => void }> => {
    const { info } = await node.call("podSandboxStatus", { podSandboxId: podId, verbose: true });
    const { netns } = JSON.parse(info["info"]!) as { netns: string };
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    const child = spawn("nsenter", [`--net=${netns}`, process.execPath, "-e", servers], {
      stdio: ["ignore", "pipe", "inherit"],
      env,
    });
    stop.defer(() => child.kill("SIGKILL"));
    let text = "";
    child.stdout.on("data", (bytes: Buffer) => (text += bytes.toString()));
    await waitFor(() => text.match(/up/g)?.length === 6, { message: "the servers are not up" });
    return { said: () => text, kill: () => void child.kill("SIGKILL") };
  };

  const urlOf = async (podSandboxId: string, port: number[] = []) =>
    (await node.call("portForward", { podSandboxId, port })).url;

  const connect = async (way: (typeof ways)[number], podId = pod.id): Promise<SpdySession> => {
    const url = await urlOf(podId);
    if (way === "spdy") return (await connectSpdy(url, { protocols: ["portforward.k8s.io"] })).session;
    const socket = await openWebSocket(url, "SPDY/3.1+portforward.k8s.io");
    return new SpdySession(createWebSocketStream(socket), { role: "client" });
  };

  let requests = 0;
  const open = (session: SpdySession, port: number): { data: SpdyStream; error: Promise<string> } => {
    const headers = { port: String(port), requestID: String((requests += 1)) };
    const error = session.open({ ...headers, streamType: "error" });
    error.end();
    const told = textOf(error);
    // Not every test waits for it.
    told.catch(() => {});
    return { data: session.open({ ...headers, streamType: "data" }), error: told };
  };

  test("is refused when it makes no sense", async () => {
    await rejectsWith(Code.NotFound, node.call("portForward", { podSandboxId: "f".repeat(64), port: [80] }));
    await rejectsWith(
      Code.InvalidArgument,
      node.call("portForward", { podSandboxId: pod.id, port: [80, 65536] }),
      /port 65536/,
    );
    const own = await node.runPod();
    const url = await urlOf(own.id);
    await node.stopPod(own.id);
    await rejectsWith(
      Code.FailedPrecondition,
      node.call("portForward", { podSandboxId: own.id, port: [] }),
      /not ready/,
    );
    const { session } = await connectSpdy(url, { protocols: ["portforward.k8s.io"] });
    assert.match(await open(session, 80).error, /not ready/);
    session.destroy();
    await node.removePod(own.id);
  });

  for (const way of ways) {
    describe(`by ${way}`, () => {
      test("passes bytes and ends, each half by itself, on many connections of several ports at once", async () => {
        using session = await connect(way);
        const results = await Promise.all(
          Array.from({ length: 30 }, async (_, i) => {
            const port = 7001 + (i % 2);
            const { data, error } = open(session, port);
            data.end(`hello ${i}`);
            return [await textOf(data), await error];
          }),
        );
        assert.deepEqual(
          results,
          results.map((_, i) => [i % 2 === 0 ? `hello ${i}` : `${`hello ${i}`.length}`, ""]),
        );
        await waitFor(() => session.openStreams === 0, { message: () => `${session.openStreams} streams are open` });
      });

      test("passes large amounts, and waits for those who read slowly", async () => {
        using session = await connect(way);
        const { data } = open(session, 7003);
        let length = 0;
        for await (const part of data) {
          length += (part as Buffer).length;
          if (length < 1_000_000) await new Promise((resolve) => setTimeout(resolve, 5));
        }
        assert.equal(length, 20_000_000);
        const other = open(session, 7002);
        other.data.end(Buffer.alloc(5_000_000));
        assert.equal(await textOf(other.data), "5000000");
      });

      test("delivers an answer whole when the pod reads ten bytes, answers and closes", async () => {
        using session = await connect(way);
        for (let i = 0; i < 10; i += 1) {
          const { data, error } = open(session, 7005);
          data.write(Buffer.alloc(400_000));
          assert.deepEqual([(await textOf(data)).length, await error], [300_000, ""]);
        }
        await waitFor(() => session.openStreams === 0, { message: () => `${session.openStreams} streams are open` });
      });

      test("lets the client go on when the pod ends its half first", async () => {
        using session = await connect(way);
        const { data } = open(session, 7006);
        assert.equal(await textOf(data), "first");
        const bytes = 400_000 + ways.indexOf(way);
        data.end(Buffer.alloc(bytes));
        await waitFor(() => podServers.said().includes(`7006 has ${bytes}\n`), { message: podServers.said });
      });

      test("tries ::1 after 127.0.0.1, and says when nobody listens on either", async () => {
        using session = await connect(way);
        assert.equal(await textOf(open(session, 7004).data), "six");
        const { data, error } = open(session, 9);
        assert.match(await error, /port 9 of pod .*nothing listens there/);
        await textOf(data).catch(() => "");
        // The session goes on.
        const again = open(session, 7001);
        again.data.end("still here");
        assert.equal(await textOf(again.data), "still here");
      });

      test("a connection that the client drops is dropped in the pod, and one with a pod that goes away ends", async () => {
        const own = await node.runPod();
        const { said, kill } = await startServers(own.id);
        const session = await connect(way, own.id);
        const { data } = open(session, 7001);
        await waitFor(() => said().includes("open 7001"));
        data.destroy();
        await waitFor(() => said().includes("closed 7001"));
        const left = open(session, 7001);
        left.data.write("x");
        await once(left.data, "data");
        // As the end of its containers does.
        kill();
        await node.removePod(own.id);
        await textOf(left.data).catch(() => "");
        session.destroy();
      });

      test("reaches the host's ports for a pod in the host's network", async () => {
        const server: Server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
        await new Promise<void>((resolve) => server.listen(7009, "127.0.0.1", resolve));
        const host = await node.runPod({
          linux: {
            securityContext: { namespaceOptions: { network: NamespaceMode.NODE, pid: NamespaceMode.CONTAINER } },
          },
        });
        {
          using session = await connect(way, host.id);
          const { data } = open(session, 7009);
          data.end("host");
          assert.equal(await textOf(data), "host");
          using inPod = await connect(way);
          assert.match(await open(inPod, 7009).error, /nothing listens/);
        }
        await node.removePod(host.id);
        await new Promise((resolve) => server.close(resolve));
      });

      test("streams without a port, of no known type or without their other half are refused", async () => {
        using session = await connect(way);
        for (const headers of [
          { streamType: "data" },
          { streamType: "data", port: "0" },
          { streamType: "data", port: "65536" },
          { streamType: "x", port: "80" },
          { streamType: "error", port: "80x" },
        ]) {
          await assert.rejects(session.openAccepted(headers));
        }
        const headers = { port: "7001", requestID: "twice", streamType: "error" };
        await session.openAccepted(headers);
        assert.match(await textOf(await session.openAccepted(headers)), /has a stream of type error already/);
      });
    });
  }

  for (const protocol of ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"]) {
    test(`speaks the old form ${protocol}, with a pair of channels for each port`, async () => {
      const isBase64 = protocol.includes("base64");
      const socket = await openWebSocket(await urlOf(pod.id, [7001, 9]), protocol);
      const channels: Buffer[] = Array.from({ length: 4 }, () => Buffer.alloc(0));
      socket.on("message", (data: Buffer) => {
        const channel = isBase64 ? data[0]! - 0x30 : data[0]!;
        channels[channel] = Buffer.concat([
          channels[channel]!,
          isBase64 ? Buffer.from(data.toString("latin1", 1), "base64") : data.subarray(1),
        ]);
      });
      socket.resume();
      socket.send(isBase64 ? `0${Buffer.from("hello").toString("base64")}` : Buffer.from("\0hello"));
      await waitFor(() => channels[0]!.length >= 7 && channels[3]!.length > 2, { message: () => channels.join("|") });
      assert.deepEqual([channels[0]!.readUInt16LE(), channels[0]!.toString("latin1", 2)], [7001, "hello"]);
      assert.deepEqual(
        [channels[1]!.readUInt16LE(), channels[2]!.readUInt16LE(), channels[3]!.readUInt16LE()],
        [7001, 9, 9],
      );
      assert.match(channels[3]!.toString("latin1", 2), /nothing listens/);
      socket.terminate();
    });
  }

  for (const protocol of ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"]) {
    test(`the old form ${protocol} closes the connection when the servers of all its ports have closed, not before`, async () => {
      const isBase64 = protocol.includes("base64");
      const connectOld = async (ports: number[]) => {
        const socket = await openWebSocket(await urlOf(pod.id, ports), protocol);
        const lengths = ports.flatMap(() => [0, 0]);
        let code: number | undefined;
        socket.on("message", (data: Buffer) => {
          const channel = isBase64 ? data[0]! - 0x30 : data[0]!;
          lengths[channel]! += isBase64 ? Buffer.from(data.toString("latin1", 1), "base64").length : data.length - 1;
        });
        socket.on("close", (closeCode) => (code = closeCode));
        socket.resume();
        const send = (channel: number, bytes: Buffer): void =>
          socket.send(isBase64 ? `${channel}${bytes.toString("base64")}` : Buffer.concat([Buffer.of(channel), bytes]), {
            binary: !isBase64,
          });
        return { socket, lengths, send, code: () => code };
      };
      const within = { timeoutMs: 10_000, message: "the connection is open" };
      const one = await connectOld([7003]);
      await waitFor(() => one.code() !== undefined, within);
      assert.deepEqual([one.code(), one.lengths], [1000, [2 + 20_000_000, 2]]);

      const uploading = await connectOld([7005]);
      uploading.send(0, Buffer.alloc(400_000));
      await waitFor(() => uploading.code() !== undefined, within);
      assert.deepEqual([uploading.code(), uploading.lengths], [1000, [2 + 300_000, 2]]);

      const three = await connectOld([7004, 7002, 9]);
      await waitFor(() => three.lengths[0] === 5 && three.lengths[5]! > 2);
      three.send(2, Buffer.from("x"));
      await new Promise((resolve) => setTimeout(resolve, 1500));
      assert.equal(three.code(), undefined, "7002 has not closed");
      three.socket.terminate();
    });
  }

  test("the old form takes its ports from the query when the request has none, and wants some", async () => {
    const socket = await openWebSocket(`${await urlOf(pod.id)}?port=7001,7002&port=7003`, "v4.channel.k8s.io");
    const seen = new Set<number>();
    socket.on("message", (data: Buffer) => seen.add(data[0]!));
    socket.resume();
    await waitFor(() => seen.size === 6);
    socket.terminate();
    for (const query of ["", "?port=", "?port=0", "?port=70000", "?port=80x"])
      await assert.rejects(
        openWebSocket(`${await urlOf(pod.id)}${query}`, "v4.channel.k8s.io"),
        /400 name 1 to 32 ports/,
      );
  });
});
