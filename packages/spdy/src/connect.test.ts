import assert from "node:assert/strict";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { test, type TestContext } from "node:test";
import { Code, codeOf, messageOf } from "@keelson/base/status.ts";
import { connectSpdy } from "./connect.ts";
import { SpdySession } from "./session.ts";

async function listen(t: TestContext, server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => (server.closeAllConnections(), server.close()));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("an upgrade gives a session, with the protocol that the server chose", async (t) => {
  const server = createServer();
  server.on("upgrade", (request, socket, head) => {
    assert.deepEqual(
      [request.method, request.headers.upgrade, request.headers["x-stream-protocol-version"]],
      ["POST", "SPDY/3.1", "v4.channel.k8s.io, v3.channel.k8s.io"],
    );
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v3.channel.k8s.io\r\n\r\n",
    );
    socket.unshift(head);
    void new SpdySession(socket, { role: "server", onStream: (stream) => (stream.reply(), stream.pipe(stream)) });
  });
  const url = await listen(t, server);
  const { session, protocol } = await connectSpdy(`${url}/exec/x`, {
    protocols: ["v4.channel.k8s.io", "v3.channel.k8s.io"],
  });
  assert.equal(protocol, "v3.channel.k8s.io");
  const stream = await session.openAccepted({});
  stream.end("echo");
  assert.equal(await text(stream), "echo");
  session.close();
  assert.equal(await session.closed, undefined);
});

test("a refusal has the server's own text and the code that its status means", async (t) => {
  let answer: RequestListener = () => {};
  const url = await listen(
    t,
    createServer((request, response) => answer(request, response)),
  );
  const connect = () => connectSpdy(url, { protocols: ["v4.channel.k8s.io"] });
  for (const [status, code] of [
    [404, Code.NotFound],
    [429, Code.ResourceExhausted],
    [403, Code.PermissionDenied],
    [500, Code.Internal],
  ] as const) {
    answer = (_, response) => response.writeHead(status).end("the token is unknown\n");
    await assert.rejects(
      connect(),
      (e: unknown) => codeOf(e) === code && messageOf(e).endsWith("the token is unknown"),
    );
  }
  answer = (_, response) => {
    response.writeHead(500);
    response.write("x".repeat(100_000));
  };
  await assert.rejects(connect(), (e: unknown) => messageOf(e).length < 20_000);
  answer = (request) => request.socket.destroy();
  await assert.rejects(connect(), (e: unknown) => codeOf(e) === Code.Unavailable);
});

test("waiting for a server that does not answer ends with the signal; no server at all is Unavailable", async (t) => {
  const server = createServer();
  server.on("upgrade", () => {});
  const url = await listen(t, server);
  await assert.rejects(connectSpdy(url, { protocols: [] }, AbortSignal.timeout(20)), { name: "TimeoutError" });
  await assert.rejects(
    connectSpdy("http://127.0.0.1:1/", { protocols: [] }),
    (e: unknown) => codeOf(e) === Code.Unavailable,
  );
});
