import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { type AddressInfo, createServer, type Server, Socket } from "node:net";
import { text } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { connectLoopback, connectToFirst } from "./connect.ts";

const openFds = (): number => readdirSync("/proc/self/fd").length;
const never = new AbortController().signal;

async function listen(t: TestContext, host: string): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

const socketOf = (fd: number): Socket => new Socket({ fd, allowHalfOpen: true, readable: true, writable: true });

test("it connects to 127.0.0.1, or else to ::1, and each half closes by itself", async (t) => {
  for (const host of ["127.0.0.1", "::1"]) {
    const socket = socketOf(await connectLoopback(null, await listen(t, host), never));
    socket.end("hello");
    assert.equal(await text(socket), "hello");
  }
});

test("it connects to the first address that takes the connection", async (t) => {
  const port = await listen(t, "127.0.0.2");
  const socket = socketOf(await connectToFirst(null, ["127.0.0.1", "127.0.0.2"], port, never));
  socket.end("hello");
  assert.equal(await text(socket), "hello");
  await assert.rejects(connectToFirst(null, ["127.0.0.1", "::1"], port, never), /127\.0\.0\.1 port \d+.*ECONNREFUSED/);
  for (const address of ["localhost", "127.0.0.1/8", "fe80::1%lo", ""])
    await assert.rejects(connectToFirst(null, [address], port, never), { code: "EINVAL" });
});

test("without a listener it is ECONNREFUSED, without the namespace ENOENT, and no fd is left", async () => {
  const before = openFds();
  await assert.rejects(connectLoopback(null, 1, never), { code: "ECONNREFUSED", syscall: "connect" });
  await assert.rejects(connectLoopback("/nonexistent", 1, never), {
    code: "ENOENT",
    syscall: "open",
    path: "/nonexistent",
  });
  await assert.rejects(connectLoopback("/etc/passwd", 1, never), { code: "EINVAL", syscall: "setns" });
  await assert.rejects(connectLoopback(null, 1, AbortSignal.abort(new Error("enough"))), /enough/);
  await delay(10);
  assert.ok(openFds() <= before, "fds stay open"); // those of earlier files may close meanwhile
});

test("hundreds connect at once", async (t) => {
  const port = await listen(t, "127.0.0.1");
  const texts = await Promise.all(
    Array.from({ length: 200 }, async (_, i) => {
      const socket = socketOf(await connectLoopback(null, port, never));
      socket.end(String(i));
      return text(socket);
    }),
  );
  assert.deepEqual(
    texts,
    texts.map((_, i) => String(i)),
  );
});
