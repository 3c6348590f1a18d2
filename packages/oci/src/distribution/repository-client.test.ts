import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { digestOf } from "../image-spec/digest.ts";
import {
  type Answer,
  blobBytes,
  broken,
  clientOf,
  FakeTransport,
  isStatus,
  never,
  readBlob,
  registryHost,
} from "../testing/fake-transport.ts";

test("a broken download is resumed where it was, and the digest covers all of it", async () => {
  const transport = new FakeTransport((request, count) => {
    if (count === 1) return { status: 200, body: broken(blobBytes.subarray(0, 30)) };
    assert.equal(request.headers["range"], "bytes=30-");
    return { status: 206, body: blobBytes.subarray(30) };
  });
  assert.equal(await readBlob(clientOf(transport)), blobBytes.toString());
});

test("when a server ignores the range, the bytes that are known are skipped", async () => {
  const transport = new FakeTransport((_, count) => ({
    status: 200,
    body: count === 1 ? broken(blobBytes.subarray(0, 30)) : blobBytes,
  }));
  assert.equal(await readBlob(clientOf(transport)), blobBytes.toString());
});

test("a body that ends early counts as broken; without progress the download is given up", async () => {
  const waits: number[] = [];
  const transport = new FakeTransport((_, count) =>
    count === 1 ? { status: 200, body: blobBytes.subarray(0, 10) } : { status: 206, body: "" },
  );
  await assert.rejects(
    readBlob(clientOf(transport, { waits })),
    isStatus(Code.Unavailable, /ended after 10 of 100 bytes/),
  );
  assert.equal(waits.length, 3);
});

test("a stalled body is requested again", async () => {
  const transport = new FakeTransport((_, count, signal) =>
    count === 1 ? { status: 200, body: stalled(signal) } : { status: 206, body: blobBytes.subarray(10) },
  );
  async function* stalled(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    yield blobBytes.subarray(0, 10);
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
  }
  assert.equal(await readBlob(clientOf(transport, { stallTimeoutMs: 5 })), blobBytes.toString());
});

test("wrong bytes and too many bytes are DataLoss", async () => {
  const wrong = Buffer.from(blobBytes);
  wrong[50] = 0;
  await assert.rejects(
    readBlob(clientOf(new FakeTransport(() => ({ status: 200, body: wrong })))),
    isStatus(Code.DataLoss, /expected the digest/),
  );
  await assert.rejects(
    readBlob(clientOf(new FakeTransport(() => ({ status: 200, body: Buffer.concat([blobBytes, blobBytes]) })))),
    isStatus(Code.DataLoss, /more than its 100 bytes/),
  );
});

test("temporary failures are retried after growing waits; Retry-After is respected, unless it is too long", async () => {
  const waits: number[] = [];
  const answers: Answer[] = [
    { status: 503 },
    new StatusError(Code.Unavailable, "r.example: reset"),
    { status: 429, headers: { "retry-after": "3" } },
    { status: 200, body: blobBytes },
  ];
  assert.equal(
    await readBlob(clientOf(new FakeTransport((_, count) => answers[count - 1] as Answer), { waits })),
    blobBytes.toString(),
  );
  assert.equal(waits.length, 3);
  assert.ok((waits[0] as number) < (waits[1] as number));
  assert.equal(waits[2], 3000);
  await assert.rejects(
    clientOf(new FakeTransport(() => ({ status: 429, headers: { "retry-after": "3600" } }))).manifest("v1", never),
    isStatus(Code.ResourceExhausted, /too many requests/),
  );
});

test("a refusal says what the registry said, shortened and on one line", async () => {
  const body = JSON.stringify({
    errors: [{ code: "MANIFEST_UNKNOWN", message: `no\u001b[31m such\nthing ${"x".repeat(1000)}` }],
  });
  await assert.rejects(clientOf(new FakeTransport(() => ({ status: 404, body }))).manifest("v1", never), (error) => {
    assert.ok(error instanceof StatusError && error.code === Code.NotFound);
    assert.match(
      error.message,
      /r\.example\/app manifests\/v1: answered 404 .*MANIFEST_UNKNOWN no \[31m such thing x+…$/,
    );
    return error.message.length < 500;
  });
  const metadata = new FakeTransport(() => ({ status: 500, body: "aws-secret-key" }));
  await assert.rejects(
    clientOf(metadata).manifest("v1", never),
    (error) => error instanceof StatusError && !error.message.includes("aws-secret"),
  );
});

test("mirrors are tried in order with ?ns=, and the error has the answer of each", async () => {
  const hosts = [
    registryHost("https://m1.example/v2", { namespace: "r.example" }),
    registryHost("https://m2.example/v2", { resolve: false }),
    registryHost("https://r.example/v2"),
  ];
  const good = new FakeTransport((request) =>
    request.url.host === "m1.example" ? { status: 404 } : { status: 200, body: blobBytes },
  );
  assert.equal(await readBlob(clientOf(good, { hosts })), blobBytes.toString());
  assert.deepEqual(
    good.seen.map((line) => line.replace(/sha256:\w+/, "D")),
    ["GET https://m1.example/v2/app/blobs/D?ns=r.example -", "GET https://m2.example/v2/app/blobs/D -"],
  );
  const bad = new FakeTransport((request) => ({ status: request.url.host === "m1.example" ? 403 : 404 }));
  await assert.rejects(
    clientOf(bad, { hosts }).manifest("v1", never),
    isStatus(Code.NotFound, /m1\.example.*403.*then r\.example.*404/),
  );
});

test("a mirror that does not answer is tried twice, and not again in this pull", async () => {
  const hosts = [registryHost("https://m1.example/v2"), registryHost("https://r.example/v2")];
  const transport = new FakeTransport((request) =>
    request.url.host === "m1.example" ? new StatusError(Code.Unavailable, "refused") : { status: 200, body: blobBytes },
  );
  const c = clientOf(transport, { hosts });
  await readBlob(c);
  await readBlob(c);
  assert.deepEqual(
    transport.seen.map((line) => /\/\/(\w+)/.exec(line)?.[1]),
    ["m1", "m1", "r", "r"],
  );
  assert.deepEqual(
    c.access().hosts.map((h) => h.baseUrl),
    ["https://r.example/v2"],
  );
});

test("a manifest by digest is checked; one by tag gets its digest from its bytes", async () => {
  const body = '{"schemaVersion":2}';
  const headers = {
    "content-type": "application/vnd.oci.image.index.v1+json; charset=utf-8",
    "docker-content-digest": digestOf("lie"),
  };
  const transport = new FakeTransport(() => ({ status: 200, body, headers }));
  assert.deepEqual(await clientOf(transport).manifest("v1", never), {
    bytes: Buffer.from(body),
    mediaType: "application/vnd.oci.image.index.v1+json",
    digest: digestOf(body),
  });
  await assert.rejects(
    clientOf(transport).manifest(digestOf("other"), never),
    isStatus(Code.DataLoss, /expected the digest/),
  );
  assert.equal(await clientOf(transport).resolve("v1", never), digestOf("lie"));
});

test("an endless manifest is cut off", async () => {
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) yield Buffer.alloc(65536);
  }
  await assert.rejects(
    clientOf(new FakeTransport(() => ({ status: 200, body: endless() }))).manifest("v1", never),
    isStatus(Code.InvalidArgument, /more than/),
  );
});

test("an aborted signal ends waits and downloads, with its reason", async () => {
  const abort = new AbortController();
  const transport = new FakeTransport((_, count) => {
    if (count === 2) abort.abort(new Error("deadline"));
    return new StatusError(Code.Unavailable, "refused");
  });
  await assert.rejects(clientOf(transport).manifest("v1", abort.signal), /deadline/);
  assert.equal(transport.seen.length, 2);
});
