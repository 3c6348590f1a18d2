import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, Socket } from "node:net";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { closeFd, duplicateFd } from "./pipe.ts";
import { podInitProgram } from "./pod-init.ts";
import { type Child, spawn } from "./spawn.ts";
import { streamPair } from "./stream-pair.ts";

/** The program of a sandbox that connects its stdin to a port, and our end of that. */
function start(port: number): { child: Child; fd: number } {
  const { a, b } = streamPair();
  const child = spawn({ file: podInitProgram(), args: ["--connect", String(port)], fds: [b, "null", "null"] });
  closeFd(b);
  return { child, fd: a };
}

function connectTo(port: number): { child: Child; socket: Socket } {
  const { child, fd } = start(port);
  return { child, socket: new Socket({ fd, readable: true, writable: true, allowHalfOpen: true }) };
}

for (const host of ["127.0.0.1", "::1"]) {
  test(`a sandbox's program connects its stdin to a port on ${host}, each half separately`, async () => {
    await using server = createServer({ allowHalfOpen: true }, (peer) => {
      let length = 0;
      peer.on("data", (bytes) => (length += bytes.length)).on("end", () => peer.end(`got ${length}`));
    }).listen(0, host);
    await once(server, "listening");
    const { child, socket } = connectTo((server.address() as AddressInfo).port);
    socket.end(Buffer.alloc(3_000_000));
    assert.equal(await text(socket), "\0got 3000000");
    assert.equal((await child.exited).code, 0);
  });
}

test("a sandbox's program delivers an answer to its end although the port has closed with the question unread", async () => {
  await using server = createServer({ pauseOnConnect: true }, (peer) => {
    peer.on("error", () => {}).write(Buffer.alloc(300_000), () => peer.destroy());
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  for (let i = 0; i < 5; i += 1) {
    const { child, fd } = start((server.address() as AddressInfo).port);
    // A socket for each half: one for both gives up reading when a write fails.
    const question = new Socket({ fd: duplicateFd(fd), readable: false, writable: true });
    const answer = new Socket({ fd, readable: true, writable: false });
    question.on("error", () => {});
    for (let j = 0; j < 40; j += 1) question.write(Buffer.alloc(10_000));
    let length = 0;
    answer.on("data", (bytes: Buffer) => (length += bytes.length));
    // The program ends with the question unread, which is a reset once everything is read.
    await new Promise((resolve) => answer.on("error", () => {}).once("close", resolve));
    assert.equal(length, 1 + 300_000);
    question.destroy();
    assert.equal((await child.exited).code, 0);
  }
});

test("a sandbox's program reports why nothing answers", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  await server[Symbol.asyncDispose]();
  const { child, socket } = connectTo(port);
  const [bytes] = (await once(socket, "data")) as [Buffer];
  assert.deepEqual([...bytes], [111], "ECONNREFUSED");
  assert.equal((await child.exited).code, 1);
  socket.destroy();
});

test("a sandbox's program ends when its client is gone", async () => {
  await using server = createServer(() => {}).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { child, socket } = connectTo((server.address() as AddressInfo).port);
  await once(socket, "data");
  socket.destroy();
  server.on("connection", (peer) => peer.resume());
  assert.equal((await child.exited).code, 0);
});
