import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@keelson/base/status.ts";
import { blobBytes, clientOf, FakeTransport, isStatus, readBlob, registryHost } from "../testing/fake-transport.ts";
import type { HttpRequest } from "./transport.ts";

test("after a redirect to another host, neither Authorization nor the host's own headers or certificates are sent", async () => {
  const requests: HttpRequest[] = [];
  const transport = new FakeTransport((request) => {
    requests.push(request);
    return request.url.host === "r.example"
      ? { status: 307, headers: { location: "https://cdn.example/x?sig=1" } }
      : { status: 200, body: blobBytes };
  });
  const own = registryHost("https://r.example/v2", {
    headers: { "x-own": "1" },
    tls: { ca: ["CA"], client: { cert: "C", key: "K" }, skipVerify: false },
  });
  assert.equal(
    await readBlob(clientOf(transport, { hosts: [own], credentials: { registryToken: "T" } })),
    blobBytes.toString(),
  );
  assert.deepEqual(
    [requests[0]?.headers["authorization"], requests[0]?.headers["x-own"], requests[0]?.tls?.client?.key],
    ["Bearer T", "1", "K"],
  );
  assert.deepEqual(
    [requests[1]?.headers["authorization"], requests[1]?.headers["x-own"], requests[1]?.tls?.client],
    [undefined, undefined, undefined],
  );
});

test("redirects that give up TLS or go in circles are refused", async () => {
  const down = new FakeTransport(() => ({ status: 302, headers: { location: "http://cdn.example/x" } }));
  await assert.rejects(
    readBlob(clientOf(down)),
    isStatus(Code.FailedPrecondition, /names a redirect that is not an https address/),
  );
  const round = new FakeTransport((request) => ({ status: 302, headers: { location: request.url.href } }));
  await assert.rejects(readBlob(clientOf(round)), isStatus(Code.FailedPrecondition, /more than 5 redirects/));
});

const hostileAddresses = [
  "file:///etc/shadow",
  "ftp://cdn.example/x",
  "//",
  "http://169.254.169.254/latest/meta-data/",
  "https://169.254.169.254/latest/meta-data/",
  "https://2852039166/",
  "https://0xa9fea9fe/",
  "https://[::ffff:169.254.169.254]/",
  "https://[fe80::1]/",
  "https://[fd00:ec2::254]/",
  "https://127.0.0.1:10250/",
  "http://127.0.0.1:10255/",
  "https://[::1]/",
  "https://0.0.0.0/",
  "https://localhost./",
];

for (const address of hostileAddresses) {
  test(`neither a redirect nor a token server leads to ${address}`, async () => {
    const credentials = { username: "u", password: "geheim" };
    const redirect = new FakeTransport((request) =>
      request.url.host === "r.example"
        ? { status: 307, headers: { location: address } }
        : { status: 200, body: blobBytes },
    );
    await assert.rejects(
      readBlob(clientOf(redirect, { credentials })),
      isStatus(Code.FailedPrecondition, /r\.example names a redirect (that is not an https address|at .*: refused)/),
    );
    assert.deepEqual(
      redirect.seen.map((line) => line.split("/")[2]),
      ["r.example"],
    );
    const realm = new FakeTransport(() => ({
      status: 401,
      headers: { "www-authenticate": `Bearer realm="${address}",service="s"` },
    }));
    await assert.rejects(
      readBlob(clientOf(realm, { credentials })),
      (error) =>
        isStatus(Code.Unauthenticated, /names a token server (that is not an https address|at .*: refused)/)(error) &&
        !String(error).includes("geheim"),
    );
    assert.equal(realm.seen.length, 1);
  });
}

test("a registry on this machine may redirect to this machine, but not to link-local services", async () => {
  const local = (location: string) =>
    new FakeTransport((_, count) =>
      count === 1 ? { status: 307, headers: { location } } : { status: 200, body: blobBytes },
    );
  const hosts = [registryHost("http://127.0.0.1:5000/v2")];
  assert.equal(await readBlob(clientOf(local("http://localhost:5001/blob"), { hosts })), blobBytes.toString());
  await assert.rejects(
    readBlob(clientOf(local("http://169.254.169.254/"), { hosts })),
    isStatus(Code.FailedPrecondition, /169\.254\.169\.254: refused, as that can only be reached from this node/),
  );
});

test("the addresses behind a redirect's or realm's name are checked, those of a registry's own are not", async () => {
  const guards: (boolean | undefined)[] = [];
  const transport = new FakeTransport((request) => {
    guards.push(request.mayReach?.("169.254.169.254"));
    return request.url.host === "r.example"
      ? { status: 307, headers: { location: "https://cdn.example/x" } }
      : { status: 200, body: blobBytes };
  });
  await readBlob(clientOf(transport));
  assert.deepEqual(guards, [undefined, false]);
});

test("credentials in the address of a redirect are not sent", async () => {
  const transport = new FakeTransport((request) =>
    request.url.host === "r.example"
      ? { status: 307, headers: { location: "https://a:b@cdn.example/x" } }
      : { status: 200, body: blobBytes },
  );
  await readBlob(clientOf(transport));
  assert.match(transport.seen[1]!, /^GET https:\/\/cdn\.example\/x -$/);
});
