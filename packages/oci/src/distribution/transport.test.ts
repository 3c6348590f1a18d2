import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import https from "node:https";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { Code, StatusError } from "@keelson/base/status.ts";
import { readBody } from "./failure.ts";
import { HttpTransport, type TlsSettings } from "./transport.ts";

const never = new AbortController().signal;
const noTls: TlsSettings = { ca: [], client: undefined, skipVerify: false };

async function listen(t: TestContext, server: Server | https.Server): Promise<URL> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return new URL(
    `${server instanceof https.Server ? "https" : "http"}://127.0.0.1:${(server.address() as AddressInfo).port}/`,
  );
}

function transport(t: TestContext, answerTimeoutMs?: number, idleTimeoutMs?: number): HttpTransport {
  const made = new HttpTransport(answerTimeoutMs, idleTimeoutMs);
  t.after(() => made[Symbol.dispose]());
  return made;
}

/** A key and a self-signed certificate. */
function makeCertificate(t: TestContext, name: string): { key: string; cert: string } {
  const dir = mkdtempSync(join(tmpdir(), "keelson-tls-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const files = ["-keyout", join(dir, "key"), "-out", join(dir, "cert")];
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
      ...files,
    ],
    { stdio: "ignore" },
  );
  return { key: readFileSync(join(dir, "key"), "utf8"), cert: readFileSync(join(dir, "cert"), "utf8") };
}

test("TLS is verified with the system's authorities and the host's own, unless that is turned off", async (t) => {
  const own = makeCertificate(t, "registry");
  const url = await listen(
    t,
    https.createServer(own, (_, response) => response.end("hello")),
  );
  const http = transport(t);
  const get = async (tls: TlsSettings) =>
    Buffer.from(
      await readBody("test", await http.send({ method: "GET", url, headers: {}, tls }, never), 100),
    ).toString();
  await assert.rejects(
    get(noTls),
    (error) => error instanceof StatusError && error.code === Code.Unavailable && /self-signed/.test(error.message),
  );
  assert.equal(await get({ ...noTls, ca: [own.cert] }), "hello");
  assert.equal(await get({ ...noTls, skipVerify: true }), "hello");
  await assert.rejects(get(noTls), "the settings of one host do not apply to another");
});

test("a client certificate is sent to the host that it is for", async (t) => {
  const own = makeCertificate(t, "registry");
  const client = makeCertificate(t, "node-1");
  const server = https.createServer({ ...own, requestCert: true, rejectUnauthorized: false }, (request, response) =>
    response.end(String((request.socket as TLSSocket).getPeerCertificate().subject?.CN)),
  );
  const url = await listen(t, server);
  const response = await transport(t).send(
    { method: "GET", url, headers: {}, tls: { ca: [own.cert], client, skipVerify: false } },
    never,
  );
  assert.equal(Buffer.from(await readBody("test", response, 100)).toString(), "node-1");
});

test("a host that refuses or does not answer, or an aborted request, results in an error in time", async (t) => {
  const silent = await listen(
    t,
    createServer(() => {}),
  );
  const isUnavailable = (why: RegExp) => (error: unknown) =>
    error instanceof StatusError && error.code === Code.Unavailable && why.test(error.message);
  await assert.rejects(
    transport(t).send({ method: "GET", url: new URL("http://127.0.0.1:1/"), headers: {} }, never),
    isUnavailable(/127\.0\.0\.1:1: .*ECONNREFUSED/),
  );
  await assert.rejects(
    transport(t, 20).send({ method: "GET", url: silent, headers: {} }, never),
    isUnavailable(/no answer within 20 ms/),
  );
  await assert.rejects(transport(t).send({ method: "GET", url: silent, headers: {} }, AbortSignal.timeout(20)), {
    name: "TimeoutError",
  });
});

test("a body that is not read to its end frees its connection", async (t) => {
  const server = createServer((_, response) => response.end(Buffer.alloc(10_000_000)));
  const url = await listen(t, server);
  const http = transport(t);
  for (let round = 0; round < 40; round += 1) {
    const response = await http.send({ method: "GET", url, headers: {} }, AbortSignal.timeout(10_000));
    for await (const _ of response.body) break;
  }
});

test("a body that stalls ends with an error; a slow reader does not", async (t) => {
  const url = await listen(
    t,
    createServer((request, response) =>
      request.url === "/stalls" ? response.write("some") : response.end(Buffer.alloc(1_000_000)),
    ),
  );
  const http = transport(t, 1000, 50);
  const stalls = await http.send({ method: "GET", url: new URL("/stalls", url), headers: {} }, never);
  await assert.rejects(readBody("test", stalls, 100), /no data for 50 ms/);
  const whole = await http.send({ method: "GET", url, headers: {} }, never);
  let length = 0;
  for await (const part of whole.body) {
    length += part.length;
    if (length < 200_000) await new Promise((resolve) => setTimeout(resolve, 60));
  }
  assert.equal(length, 1_000_000);
});

test("endless headers end with an error", async (t) => {
  const server = createTcpServer((socket) => {
    socket.on("error", () => {}).write("HTTP/1.1 200 OK\r\n");
    const more = setInterval(() => socket.write(`x-${"y".repeat(4000)}: z\r\n`), 1);
    socket.once("close", () => clearInterval(more));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await assert.rejects(
    transport(t).send({ method: "GET", url, headers: {} }, never),
    (error) => error instanceof StatusError && error.code === Code.Unavailable && /[Hh]eader/.test(error.message),
  );
});

test("a host name that resolves to a forbidden address is not connected to", async (t) => {
  const url = await listen(
    t,
    createServer((_, response) => response.end("hello")),
  );
  const named = new URL(`http://localhost:${url.port}/`);
  const http = transport(t);
  const refused = http.send(
    { method: "GET", url: named, headers: {}, mayReach: (address) => !address.startsWith("127.") && address !== "::1" },
    never,
  );
  await assert.rejects(
    refused,
    (error) =>
      error instanceof StatusError &&
      error.code === Code.FailedPrecondition &&
      /localhost: refused, .*only be reached from this node/.test(error.message),
  );
  const response = await http.send({ method: "GET", url: named, headers: {}, mayReach: () => true }, never);
  assert.equal(Buffer.from(await readBody("test", response, 100)).toString(), "hello");
});
