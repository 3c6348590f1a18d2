// What a pod says is delivered to its end, whatever happens to what the client sends it.
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, Socket } from "node:net";
import { type Duplex, duplexPair } from "node:stream";
import { buffer } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { connectLoopback } from "@keelson/linux/connect.ts";
import { streamPair } from "@keelson/linux/stream-pair.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { join } from "./join.ts";

const never = new AbortController().signal;

/** Reads to the end and leaves the other half open. */
async function readAll(stream: Duplex): Promise<Buffer> {
  return await buffer(stream.iterator({ destroyOnReturn: false }));
}

/** A client that is joined with a server in the pod, which gets the connection unread. */
async function connected(t: TestContext, serve: (socket: Socket) => void) {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    socket.on("error", () => {});
    serve(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  const fd = await connectLoopback(null, (server.address() as AddressInfo).port, never);
  const [ours, client] = duplexPair();
  client.on("error", () => {});
  return { client, joined: join(ours, fd) };
}

test("an answer is whole although the pod closes with most of the question unread", async (t) => {
  for (let i = 0; i < 20; i += 1) {
    // close(2) with bytes unread resets the connection: tcp(7).
    const { client, joined } = await connected(t, (socket) =>
      socket.write(Buffer.alloc(300_000), () => socket.destroy()),
    );
    client.write(Buffer.alloc(400_000));
    assert.equal((await readAll(client)).length, 300_000);
    await joined;
  }
});

test("an answer is whole although the pod has stopped reading before the question comes", async (t) => {
  const { client, joined } = await connected(t, (socket) => socket.end(Buffer.alloc(300_000), () => socket.destroy()));
  await once(client, "readable");
  // The first is answered with a reset, the second fails.
  client.write(Buffer.alloc(200_000));
  client.write(Buffer.alloc(200_000));
  assert.equal((await readAll(client)).length, 300_000);
  await joined;
});

test("an answer that a client reads slowly is whole, too, and the connection ends when it has it", async (t) => {
  const { client, joined } = await connected(t, (socket) =>
    socket.write(Buffer.alloc(300_000), () => socket.destroy()),
  );
  client.write(Buffer.alloc(400_000));
  let length = 0;
  for await (const part of client.iterator({ destroyOnReturn: false })) {
    length += (part as Buffer).length;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  assert.equal(length, 300_000);
  await joined;
});

test("each half ends by itself, whichever is first", async (t) => {
  let received = 0;
  let hasEnded = false;
  const { client, joined } = await connected(t, (socket) => {
    socket.end("all that I say");
    socket.on("data", (bytes: Buffer) => (received += bytes.length)).on("end", () => (hasEnded = true));
    socket.resume();
  });
  assert.equal((await readAll(client)).toString(), "all that I say");
  client.write(Buffer.alloc(400_000));
  await waitFor(() => received === 400_000, { message: () => `the pod has ${received} bytes` });
  assert.equal(hasEnded, false);
  client.end();
  await joined;
  await waitFor(() => hasEnded, { message: "the pod does not see the end" });
});

test("an answer is whole when a unix socket's other end closes with the question unread, as with a sandbox", async () => {
  const { a, b } = streamPair();
  const [ours, client] = duplexPair();
  client.on("error", () => {});
  const joined = join(ours, a);
  client.write(Buffer.alloc(400_000));
  const pod = new Socket({ fd: b, readable: false, writable: true });
  pod.write(Buffer.alloc(50_000), () => pod.destroy());
  assert.equal((await readAll(client)).length, 50_000);
  await joined;
});

test("a client that goes away ends the connection in the pod", async (t) => {
  let hasClosed = false;
  const { client, joined } = await connected(t, (socket) => {
    socket
      .resume()
      .on("close", () => (hasClosed = true))
      .on("end", () => socket.end());
  });
  client.destroy(new Error("gone"));
  await joined;
  await waitFor(() => hasClosed, { message: "the pod's end is open" });
});
