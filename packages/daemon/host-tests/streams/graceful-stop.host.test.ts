// What streams of a daemon leave behind when it is stopped, killed, or met by clients that never say what they want.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { connectRemote, parseStatus, transports } from "@keelson/streaming/testing/stream-clients.ts";
import { skip } from "@keelson/testkit/host-sandbox.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { type Pod, TestNode } from "../testing/test-node.ts";

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

describe("streams of keelsond", { skip, timeout: 120_000 }, () => {
  let node: TestNode;
  let pod: Pod;
  let id: string;
  before(async () => {
    node = await TestNode.start();
    pod = await node.runPod();
    id = await node.runContainer(pod, "sleep 600");
  });
  after(() => node[Symbol.asyncDispose]());

  const streams = { stdin: true, stdout: true, stderr: false, tty: false };
  const urlOf = async (script: string, tty = false) =>
    (await node.call("exec", { containerId: id, cmd: ["sh", "-c", script], ...streams, tty })).url;

  test("end with it: clients are told, commands are killed, files are gone", async () => {
    const clients = await Promise.all(
      transports.map(async (transport, i) =>
        connectRemote(transport, await urlOf("sleep 7654 & sleep 7654", i === 1), { ...streams, tty: i === 1 }),
      ),
    );
    await waitFor(() => processesWith("sleep 7654").length >= 4);
    await node.stop();
    for (const client of clients) assert.match(parseStatus(await client.ended).message ?? "", /being stopped/);
    await waitFor(() => processesWith("sleep 7654").length === 0, {
      message: () => processesWith("sleep 7654").join("\n"),
    });
    await node.startAgain();
    const { bundle } = await node.containerInfo(id);
    assert.deepEqual(
      readdirSync(bundle).filter((name) => name.startsWith("exec-")),
      [],
    );
  });

  test("that a killed daemon left are ended by the next", async () => {
    const client = await connectRemote("spdy", await urlOf("sleep 7655 & sleep 7655", true), { ...streams, tty: true });
    await waitFor(() => processesWith("sleep 7655").length >= 2);
    await node.kill("SIGKILL");
    await client.ended;
    await node.startAgain();
    await waitFor(() => processesWith("sleep 7655").length === 0, {
      message: () => processesWith("sleep 7655").join("\n"),
    });
    const { bundle } = await node.containerInfo(id);
    assert.deepEqual(
      readdirSync(bundle).filter((name) => name.startsWith("exec-")),
      [],
    );
  });

  test("give up clients that send their request byte by byte, or nothing", async () => {
    const { port } = new URL(await urlOf("true"));
    const startedMs = performance.now();
    // Without reading, a client that is told why would not see the end.
    const sockets = Array.from({ length: 200 }, () =>
      connect(Number(port), "127.0.0.1")
        .on("error", () => {})
        .resume(),
    );
    const timer = setInterval(() => sockets.slice(100).forEach((socket) => socket.writable && socket.write("G")), 500);
    await Promise.all(sockets.map((socket) => new Promise((resolve) => socket.once("close", resolve))));
    clearInterval(timer);
    assert.ok(performance.now() - startedMs < 60_000);
    const client = await connectRemote("spdy", await urlOf("echo on"), streams);
    assert.equal(parseStatus(await client.ended).exitCode, 0);
  });
});
