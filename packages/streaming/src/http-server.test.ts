// The streaming server on the loopback, with a backend that echoes: whom it serves, and how it refuses others.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { connect as connectTls } from "node:tls";
import { silentLog } from "@keelson/base/log.ts";
import { Code, codeOf, messageOf } from "@keelson/base/status.ts";
import { connectSpdy } from "@keelson/spdy/connect.ts";
import { dataFrameHead, synStreamFrame, windowUpdateFrame } from "@keelson/spdy/frame.ts";
import { HeaderWriter } from "@keelson/spdy/header-block.ts";
import { type ClaimedClient, HttpServer } from "./http-server.ts";
import type { ListenOptions } from "./messages.ts";
import type { RemoteStreams } from "./remote-streams.ts";
import type { StreamingRequest } from "./streaming-request.ts";
import { connectRemote, openWebSocket, parseStatus, type RemoteClient } from "./testing/stream-clients.ts";
import { Tokens } from "./tokens.ts";

const choice = { stdin: true, stdout: true, stderr: false, tty: false };
const exec: StreamingRequest = { is: "exec", containerId: "c", command: ["cat"], choice };
const forwarding: StreamingRequest = { is: "portforward", podId: "p", ports: [] };

interface Fixture {
  readonly server: HttpServer;
  readonly urlFor: (request: StreamingRequest) => string;
  /** The clients that the backend serves. */
  readonly running: Set<RemoteStreams>;
}

async function start(t: TestContext, options: Partial<ListenOptions> = {}): Promise<Fixture> {
  const running = new Set<RemoteStreams>();
  const tokens = new Tokens<StreamingRequest>(() => performance.now());
  const client = (request: StreamingRequest): ClaimedClient => ({
    request,
    async run(streams) {
      running.add(streams);
      const isGone = once(streams.signal, "abort").then(() => messageOf(streams.signal.reason));
      const isEnded = new Promise<void>((resolve) => {
        streams.stdin!.on("data", (bytes: Buffer) => streams.stdout!.write(bytes)).once("end", resolve);
      });
      const reason = await Promise.race([isEnded, isGone]);
      await streams.finish(reason === undefined ? { is: "exited", exitCode: 0 } : { is: "failed", message: reason });
      running.delete(streams);
    },
    forward: (port, client) => Promise.resolve(void client.end(`port ${port}`)),
    [Symbol.dispose]() {},
  });
  const admission = {
    claim(kind: StreamingRequest["is"], token: string) {
      const request = tokens.take(token, (entry) => entry.is === kind);
      return Promise.resolve(request === undefined ? undefined : client(request));
    },
  };
  const server = new HttpServer(
    { address: "127.0.0.1", port: 0, tls: undefined, idleTimeoutMs: 60_000, creationTimeoutMs: 60_000, ...options },
    admission,
    silentLog,
  );
  const { url } = await server.listen();
  t.after(() => server.close(0));
  return { server, urlFor: (request) => `${url}/${request.is}/${tokens.add(request)}`, running };
}

/** Sends bytes, and reads until the server closes. */
async function raw(url: string, bytes: string | Buffer): Promise<string> {
  const socket = dial(url);
  socket.write(bytes);
  let text = "";
  socket.on("data", (part: Buffer) => (text += part.toString("latin1")));
  await once(socket, "close");
  return text;
}

function dial(url: string): Socket {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  return socket;
}

const spdyHead = (url: string, protocol = "v4.channel.k8s.io", method = "POST") =>
  `${method} ${new URL(url).pathname} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`;

async function until(is: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !is(); i += 1) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(is());
}

test("a URL is valid once, and only on its own path", async (t) => {
  const { urlFor } = await start(t);
  const url = urlFor(exec);
  assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/exec\/[A-Za-z0-9_-]{24}$/);
  for (const other of [
    url.replace("exec", "attach"),
    url.replace("exec", "portforward"),
    url.slice(0, -1),
    `${url}x`,
    url.replace(/\/exec.*/, "/"),
    url.replace(/\/exec.*/, "/metrics"),
  ]) {
    await assert.rejects(
      connectSpdy(other, { protocols: ["v4.channel.k8s.io"] }),
      (e: unknown) => codeOf(e) === Code.NotFound,
      other,
    );
  }
  const client = await connectRemote("spdy", url, choice);
  await client.write("hello");
  client.endStdin();
  assert.equal(parseStatus(await client.ended).status, "Success");
  assert.equal(client.stdout().toString(), "hello");
  for (const again of ["spdy", "websocket"] as const) await assert.rejects(connectRemote(again, url, choice), /404/);
});

test("a request that is no upgrade is refused, and the URL stays valid", async (t) => {
  const { urlFor } = await start(t);
  const url = urlFor(exec);
  assert.equal((await fetch(url)).status, 400);
  assert.equal((await fetch(url.replace(/exec.*/, ""))).status, 404);
  assert.match(await raw(url, spdyHead(url).replace("SPDY/3.1", "h2c")), /^HTTP\/1\.1 400 /);
  assert.match(await raw(url, spdyHead(url, undefined, "DELETE")), /^HTTP\/1\.1 405 /);
  const client = await connectRemote("websocket", url, choice);
  client.vanish();
});

test("without a common protocol, the refusal names the server's", async (t) => {
  const { urlFor } = await start(t);
  const answer = await raw(urlFor(exec), spdyHead(urlFor(exec), "v9.channel.k8s.io"));
  assert.match(
    answer,
    /^HTTP\/1\.1 403 [^]*X-Accepted-Stream-Protocol-Versions: v4\.channel\.k8s\.io\r\n[^]*unable to negotiate protocol: client supports v9\.channel\.k8s\.io; server supports v4\.channel\.k8s\.io/,
  );
  await assert.rejects(openWebSocket(urlFor(exec), "v9.channel.k8s.io"), /400 no common protocol/);
  await assert.rejects(
    connectSpdy(urlFor(forwarding), { protocols: ["v4.channel.k8s.io"] }),
    (e: unknown) => codeOf(e) === Code.PermissionDenied,
  );
  await assert.rejects(openWebSocket(urlFor(forwarding), "v5.channel.k8s.io"), /400 no common protocol/);
  // The first that both know; the oldest for a client that names none.
  assert.equal(
    (await connectSpdy(urlFor(exec), { protocols: ["v9", "v3.channel.k8s.io", "v4.channel.k8s.io"] })).protocol,
    "v3.channel.k8s.io",
  );
  assert.equal((await connectSpdy(urlFor(exec), { protocols: [] })).protocol, "");
});

test("a client that opens its streams too late, or others, or one twice is dropped", async (t) => {
  const { urlFor, running } = await start(t, { creationTimeoutMs: 100 });
  const slow = await connectSpdy(urlFor(exec), { protocols: ["v4.channel.k8s.io"] });
  await slow.session.openAccepted({ streamType: "error" });
  assert.equal((await slow.session.closed)?.code, Code.Unavailable);
  for (const types of [["error", "error"], ["stderr"], ["resize"], ["x"], [""]]) {
    const { session } = await connectSpdy(urlFor(exec), { protocols: ["v4.channel.k8s.io"] });
    for (const streamType of types) session.open({ streamType });
    await session.closed;
  }
  assert.equal(running.size, 0);
});

test("an idle connection is closed after the idle timeout, a busy one is not", async (t) => {
  const { urlFor } = await start(t, { idleTimeoutMs: 150 });
  for (const transport of ["spdy", "websocket"] as const) {
    const still = await connectRemote(transport, urlFor(exec), choice);
    const busy: RemoteClient = await connectRemote(transport, urlFor(exec), choice);
    const timer = setInterval(() => void busy.write("."), 20);
    await still.ended;
    await new Promise((resolve) => setTimeout(resolve, 200));
    clearInterval(timer);
    busy.endStdin();
    assert.equal(parseStatus(await busy.ended).status, "Success");
  }
});

test("garbage, truncated handshakes, header bombs and broken frames end their connection and nothing else", async (t) => {
  const { urlFor, running } = await start(t, { creationTimeoutMs: 500 });
  const url = urlFor(exec);
  const bystander = await connectRemote("spdy", urlFor(exec), choice);
  assert.match(
    await raw(url, Buffer.from("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "latin1")),
    /^HTTP\/1\.1 400 /,
  );
  assert.match(
    await raw(url, `GET / HTTP/1.1\r\nHost: x\r\n${"X: y\r\n".repeat(20_000)}\r\n`),
    /^(HTTP\/1\.1 4\d\d |$)/,
  );
  assert.match(await raw(url, `GET /exec/${"a".repeat(100_000)} HTTP/1.1\r\n\r\n`), /^(HTTP\/1\.1 4\d\d |$)/);
  dial(url).end("POST /exec/");
  const streams = (): Buffer => {
    const headers = new HeaderWriter();
    return Buffer.concat(
      ["error", "stdin", "stdout"].map((streamType, i) => synStreamFrame(2 * i + 1, 0, headers.write({ streamType }))),
    );
  };
  const frames = [
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    Buffer.alloc(10_000, 0xff),
    Buffer.concat([streams(), windowUpdateFrame(0, 0x7fffffff)]),
    Buffer.concat([streams(), windowUpdateFrame(5, 0x7fffffff), Buffer.alloc(100, 0x80)]),
    synStreamFrame(1, 0, Buffer.alloc(15_000, 1)),
    synStreamFrame(1, 0, new HeaderWriter().write({ streamType: "x".repeat(60_000) })),
    Buffer.concat([streams(), synStreamFrame(1, 0, Buffer.alloc(10))]),
  ];
  for (const bytes of frames)
    assert.match(await raw(url, Buffer.concat([Buffer.from(spdyHead(urlFor(exec))), bytes])), /^HTTP\/1\.1 101 /);
  const socket = await openWebSocket(urlFor(exec), "v5.channel.k8s.io");
  socket.on("error", () => {}).resume();
  socket.send(Buffer.alloc(2 * 1024 * 1024));
  await once(socket, "close");
  const odd = await openWebSocket(urlFor(exec), "v5.channel.k8s.io");
  odd.resume();
  for (const frame of [
    "text",
    Buffer.alloc(0),
    Buffer.from([9, 1]),
    Buffer.from([255, 9]),
    Buffer.from([255]),
    Buffer.from([1, 65]),
  ])
    odd.send(frame);
  odd.send(Buffer.from([255, 0]));
  await once(odd, "close");
  await bystander.write("still here");
  bystander.endStdin();
  assert.equal(parseStatus(await bystander.ended).status, "Success");
  assert.equal(bystander.stdout().toString(), "still here");
  await until(() => running.size === 0);
});

test("a sender without windows whose data nobody reads is held up, over both transports", async (t) => {
  const { urlFor, running } = await start(t);
  const socket = dial(urlFor(exec));
  const headers = new HeaderWriter();
  const streams = ["error", "stdin", "stdout"].map((streamType, i) =>
    synStreamFrame(2 * i + 1, 0, headers.write({ streamType })),
  );
  socket.write(spdyHead(urlFor(exec)));
  socket.write(Buffer.concat(streams));
  await until(() => running.size === 1);
  [...running][0]!.stdin!.pause();
  for (let i = 0; i < 400; i += 1) socket.write(Buffer.concat([dataFrameHead(3, 65536, false), Buffer.alloc(65536)]));
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.ok(socket.writableLength > 10_000_000, `${socket.writableLength} bytes wait with the client`);
  socket.destroy();
  const webSocket = await openWebSocket(urlFor(exec), "v5.channel.k8s.io");
  webSocket.resume();
  await until(() => running.size > 0);
  for (const { stdin } of running) stdin!.pause();
  for (let i = 0; i < 400; i += 1) webSocket.send(Buffer.alloc(65536));
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.ok(webSocket.bufferedAmount > 10_000_000, `${webSocket.bufferedAmount} bytes wait with the client`);
  webSocket.terminate();
});

test("TLS is 1.2 or later, and a renewed certificate needs no restart", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-tls-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const [certFile, keyFile] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  const renew = (name: string) =>
    execFileSync(
      "openssl",
      [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
        "-subj",
        `/CN=${name}`,
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        keyFile,
        "-out",
        certFile,
      ],
      { stdio: "ignore" },
    );
  renew("first");
  const { urlFor } = await start(t, { tls: { certFile, keyFile } });
  const url = urlFor(exec);
  assert.match(url, /^https:/);
  const { session } = await connectSpdy(url, { protocols: ["v4.channel.k8s.io"], tls: { ca: readFileSync(certFile) } });
  session.destroy();
  const { port } = new URL(url);
  const nameNow = async (): Promise<string> => {
    const socket = connectTls({ host: "127.0.0.1", port: Number(port), rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { CN } = socket.getPeerCertificate().subject;
    socket.destroy();
    return String(CN);
  };
  assert.equal(await nameNow(), "first");
  const old = connectTls({
    host: "127.0.0.1",
    port: Number(port),
    rejectUnauthorized: false,
    minVersion: "TLSv1",
    maxVersion: "TLSv1.1",
    ciphers: "DEFAULT@SECLEVEL=0",
  });
  await assert.rejects(once(old, "secureConnect"));
  // A half-written file is not used.
  writeFileSync(certFile, "-----BEGIN CERTIFICATE-----\n");
  await new Promise((resolve) => setTimeout(resolve, 2300));
  assert.equal(await nameNow(), "first");
  renew("second");
  for (let i = 0; i < 100 && (await nameNow()) !== "second"; i += 1)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(await nameNow(), "second");
});

test("when it closes, clients get a status, and no others are accepted", async (t) => {
  const { server, urlFor } = await start(t);
  const clients = await Promise.all(
    (["spdy", "websocket"] as const).map((transport) => connectRemote(transport, urlFor(exec), choice)),
  );
  const url = urlFor(exec);
  await server.close(5000);
  for (const client of clients) assert.match(parseStatus(await client.ended).message ?? "", /being stopped/);
  await assert.rejects(connectSpdy(url, { protocols: [] }), (e: unknown) => codeOf(e) === Code.Unavailable);
});
