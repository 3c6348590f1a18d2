import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import {
  type Answer,
  blobBytes,
  clientOf,
  FakeTransport,
  isStatus,
  never,
  readBlob,
} from "../testing/fake-transport.ts";
import { RepositoryClient } from "./repository-client.ts";
import type { HttpRequest } from "./transport.ts";

test("Basic: the password is only sent after the registry has asked for it", async () => {
  const transport = new FakeTransport((request) =>
    request.headers["authorization"] === undefined
      ? { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } }
      : { status: 200, body: blobBytes },
  );
  const c = clientOf(transport, { credentials: { username: "u", password: "geheim" } });
  assert.equal(await readBlob(c), blobBytes.toString());
  await readBlob(c);
  const basic = `Basic ${Buffer.from("u:geheim").toString("base64")}`;
  assert.deepEqual(
    transport.seen.map((line) => line.endsWith(basic)),
    [false, true, true],
  );
});

const bearer = (request: HttpRequest, token: (request: HttpRequest) => Answer): Answer => {
  if (request.url.host === "auth.example") return token(request);
  if (request.headers["authorization"] === "Bearer T1") return { status: 200, body: blobBytes };
  return {
    status: 401,
    headers: {
      "www-authenticate": 'Bearer realm="https://auth.example/token",service="s",scope="repository:app:pull"',
    },
  };
};

test("Bearer: one token is used for the whole pull, and by another client with the same access", async () => {
  const transport = new FakeTransport((request) => bearer(request, () => ({ status: 200, body: '{"token":"T1"}' })));
  const c = clientOf(transport, { credentials: { username: "u", password: "p" } });
  await readBlob(c);
  await readBlob(c);
  assert.deepEqual(
    transport.seen.map((line) => line.replace(/sha256:\w+/, "D")),
    [
      "GET https://r.example/v2/app/blobs/D -",
      `GET https://auth.example/token?service=s&scope=repository%3Aapp%3Apull Basic ${Buffer.from("u:p").toString("base64")}`,
      "GET https://r.example/v2/app/blobs/D Bearer T1",
      "GET https://r.example/v2/app/blobs/D Bearer T1",
    ],
  );
  transport.seen.length = 0;
  await readBlob(new RepositoryClient(c.access(), { transport }));
  assert.equal(transport.seen.length, 1);
});

test("Bearer: an identity token is posted, a registry token is used as it is", async () => {
  const identity = new FakeTransport((request) => {
    if (request.method === "POST")
      assert.match(request.body ?? "", /grant_type=refresh_token.*refresh_token=idt.*service=s/);
    return bearer(request, () => ({ status: 200, body: '{"access_token":"T1"}' }));
  });
  await readBlob(clientOf(identity, { credentials: { identityToken: "idt" } }));
  const registry = new FakeTransport((request) => bearer(request, () => ({ status: 500 })));
  await readBlob(clientOf(registry, { credentials: { registryToken: "T1" } }));
  assert.equal(registry.seen.length, 1);
});

test("a token that has expired is replaced during the pull", async () => {
  let current = "A";
  const transport = new FakeTransport((request) => {
    if (request.url.host === "auth.example") return { status: 200, body: JSON.stringify({ token: current }) };
    if (request.headers["authorization"] === `Bearer ${current}`) return { status: 200, body: blobBytes };
    return { status: 401, headers: { "www-authenticate": 'Bearer realm="https://auth.example/token"' } };
  });
  const c = clientOf(transport);
  await readBlob(c);
  current = "B";
  assert.equal(await readBlob(c), blobBytes.toString());
});

test("refused credentials end the pull, and are not in the error", async () => {
  const secrets = { username: "user1", password: "geheim", identityToken: "", registryToken: "" };
  const transports = [
    new FakeTransport(() => ({ status: 401, headers: { "www-authenticate": 'Basic realm="x"' } })),
    new FakeTransport((request) =>
      bearer(request, () => ({ status: 401, body: '{"details":"incorrect username or password"}' })),
    ),
    new FakeTransport((request) => bearer(request, () => ({ status: 200, body: '{"token":"geheim geheim"}' }))),
    new FakeTransport((request) => bearer(request, () => ({ status: 200, body: "geheim" }))),
  ];
  for (const transport of transports) {
    await assert.rejects(clientOf(transport, { credentials: secrets }).manifest("v1", never), (error) => {
      assert.ok(error instanceof StatusError && error.code === Code.Unauthenticated, String(error));
      assert.doesNotMatch(error.message, /geheim|user1/);
      return transport.seen.length <= 4;
    });
  }
});

test("credentials for another registry are not sent, nor any to a token server without TLS", async () => {
  const other = new FakeTransport(() => ({ status: 401, headers: { "www-authenticate": 'Basic realm="x"' } }));
  await assert.rejects(
    clientOf(other, {
      credentials: { username: "u", password: "p", serverAddress: "https://other.example/v1/" },
    }).manifest("v1", never),
  );
  assert.equal(other.seen.length, 1);
  const plain = new FakeTransport(() => ({
    status: 401,
    headers: { "www-authenticate": 'Bearer realm="http://auth.example/token"' },
  }));
  await assert.rejects(
    clientOf(plain, { credentials: { username: "u", password: "p" } }).manifest("v1", never),
    isStatus(Code.Unauthenticated, /not an https address/),
  );
  assert.equal(plain.seen.length, 1);
});
