import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { digestOf } from "../image-spec/digest.ts";
import type { Credentials } from "./authorizer.ts";
import type { RegistryHost } from "./hosts.ts";
import { RepositoryClient } from "./repository-client.ts";
import type { HttpRequest, HttpResponse, Transport } from "./transport.ts";

const signal = new AbortController().signal;
const blobBytes = Buffer.from("0123456789".repeat(10));
const blob = { mediaType: "application/octet-stream", digest: digestOf(blobBytes), sizeBytes: blobBytes.length };

type Answer =
  | { status: number; headers?: Record<string, string>; body?: string | Uint8Array | AsyncIterable<Uint8Array> }
  | Error;

/** A registry in memory: `answer` says what each request gets. */
class FakeTransport implements Transport {
  readonly seen: string[] = [];
  readonly #answer: (request: HttpRequest, count: number, signal: AbortSignal) => Answer;

  constructor(answer: (request: HttpRequest, count: number, signal: AbortSignal) => Answer) {
    this.#answer = answer;
  }

  send(request: HttpRequest, signal: AbortSignal): Promise<HttpResponse> {
    this.seen.push(
      `${request.method} ${request.url.href}${request.headers["range"] === undefined ? "" : ` ${request.headers["range"]}`} ${request.headers["authorization"] ?? "-"}`,
    );
    const answer = this.#answer(request, this.seen.length, signal);
    if (answer instanceof Error) return Promise.reject(answer);
    const { status, headers = {}, body = "" } = answer;
    return Promise.resolve({
      status,
      headers,
      body: typeof body === "string" || body instanceof Uint8Array ? once(Buffer.from(body)) : body,
    });
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

async function* broken(bytes: Buffer): AsyncGenerator<Uint8Array> {
  yield bytes;
  throw new Error("socket hang up");
}

function host(baseUrl: string, more: Partial<RegistryHost> = {}): RegistryHost {
  return {
    baseUrl,
    pull: true,
    resolve: true,
    headers: {},
    tls: { ca: [], client: undefined, skipVerify: false },
    namespace: undefined,
    ...more,
  };
}

function client(
  transport: Transport,
  options: {
    hosts?: RegistryHost[];
    credentials?: Partial<Credentials>;
    waits?: number[];
    stallTimeoutMs?: number;
  } = {},
): RepositoryClient {
  const none = { username: "", password: "", identityToken: "", registryToken: "", serverAddress: "" };
  const credentials = options.credentials === undefined ? undefined : { ...none, ...options.credentials };
  return new RepositoryClient(
    { repository: "app", hosts: options.hosts ?? [host("https://r.example/v2")], credentials, authorizations: [] },
    {
      transport,
      sleep: (ms) => (options.waits?.push(ms), Promise.resolve()),
      stallTimeoutMs: options.stallTimeoutMs ?? 1000,
    },
  );
}

async function read(c: RepositoryClient, descriptor = blob): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of c.blob(descriptor, signal)) parts.push(part);
  return Buffer.concat(parts).toString();
}

function isStatus(code: Code, why: RegExp) {
  return (error: unknown) => error instanceof StatusError && error.code === code && why.test(error.message);
}

test("a broken download goes on where it was, and the digest covers the whole", async () => {
  const transport = new FakeTransport((request, count) => {
    if (count === 1) return { status: 200, body: broken(blobBytes.subarray(0, 30)) };
    assert.equal(request.headers["range"], "bytes=30-");
    return { status: 206, body: blobBytes.subarray(30) };
  });
  assert.equal(await read(client(transport)), blobBytes.toString());
});

test("a server that ignores the range gets what is known skipped", async () => {
  const transport = new FakeTransport((_, count) => ({
    status: 200,
    body: count === 1 ? broken(blobBytes.subarray(0, 30)) : blobBytes,
  }));
  assert.equal(await read(client(transport)), blobBytes.toString());
});

test("a body that ends early counts as broken; one without progress is given up", async () => {
  const waits: number[] = [];
  const transport = new FakeTransport((_, count) =>
    count === 1 ? { status: 200, body: blobBytes.subarray(0, 10) } : { status: 206, body: "" },
  );
  await assert.rejects(read(client(transport, { waits })), isStatus(Code.Unavailable, /ended after 10 of 100 bytes/));
  assert.equal(waits.length, 3);
});

test("a stalled body is asked for again", async () => {
  const transport = new FakeTransport((_, count, signal) =>
    count === 1 ? { status: 200, body: stalled(signal) } : { status: 206, body: blobBytes.subarray(10) },
  );
  async function* stalled(signal: AbortSignal): AsyncGenerator<Uint8Array> {
    yield blobBytes.subarray(0, 10);
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
  }
  assert.equal(await read(client(transport, { stallTimeoutMs: 5 })), blobBytes.toString());
});

test("wrong bytes, too many and too few are DataLoss", async () => {
  const wrong = Buffer.from(blobBytes);
  wrong[50] = 0;
  await assert.rejects(
    read(client(new FakeTransport(() => ({ status: 200, body: wrong })))),
    isStatus(Code.DataLoss, /expected the digest/),
  );
  await assert.rejects(
    read(client(new FakeTransport(() => ({ status: 200, body: Buffer.concat([blobBytes, blobBytes]) })))),
    isStatus(Code.DataLoss, /more than its 100 bytes/),
  );
});

test("passing faults are repeated with growing waits, Retry-After counts, and a long one ends it", async () => {
  const waits: number[] = [];
  const answers: Answer[] = [
    { status: 503 },
    new StatusError(Code.Unavailable, "r.example: reset"),
    { status: 429, headers: { "retry-after": "3" } },
    { status: 200, body: blobBytes },
  ];
  assert.equal(
    await read(client(new FakeTransport((_, count) => answers[count - 1] as Answer), { waits })),
    blobBytes.toString(),
  );
  assert.equal(waits.length, 3);
  assert.ok((waits[0] as number) < (waits[1] as number));
  assert.equal(waits[2], 3000);
  await assert.rejects(
    client(new FakeTransport(() => ({ status: 429, headers: { "retry-after": "3600" } }))).manifest("v1", signal),
    isStatus(Code.ResourceExhausted, /too many requests/),
  );
});

test("a refusal says what the registry said, shortened and on one line", async () => {
  const body = JSON.stringify({
    errors: [{ code: "MANIFEST_UNKNOWN", message: `no\u001b[31m such\nthing ${"x".repeat(1000)}` }],
  });
  await assert.rejects(client(new FakeTransport(() => ({ status: 404, body }))).manifest("v1", signal), (error) => {
    assert.ok(error instanceof StatusError && error.code === Code.NotFound);
    assert.match(
      error.message,
      /r\.example\/app manifests\/v1: answered 404 .*MANIFEST_UNKNOWN no \[31m such thing x+…$/,
    );
    return error.message.length < 500;
  });
  const metadata = new FakeTransport(() => ({ status: 500, body: "aws-secret-key" }));
  await assert.rejects(
    client(metadata).manifest("v1", signal),
    (error) => error instanceof StatusError && !error.message.includes("aws-secret"),
  );
});

test("Basic: the password goes out only after the registry asked for it", async () => {
  const transport = new FakeTransport((request) =>
    request.headers["authorization"] === undefined
      ? { status: 401, headers: { "www-authenticate": 'Basic realm="x"' } }
      : { status: 200, body: blobBytes },
  );
  const c = client(transport, { credentials: { username: "u", password: "geheim" } });
  assert.equal(await read(c), blobBytes.toString());
  await read(c);
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

test("Bearer: one token serves the whole pull, and another client that is given what was found", async () => {
  const transport = new FakeTransport((request) => bearer(request, () => ({ status: 200, body: '{"token":"T1"}' })));
  const c = client(transport, { credentials: { username: "u", password: "p" } });
  await read(c);
  await read(c);
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
  await read(new RepositoryClient(c.access(), { transport }));
  assert.equal(transport.seen.length, 1);
});

test("Bearer: an identity token is posted, a registry token is used as it is", async () => {
  const identity = new FakeTransport((request) => {
    if (request.method === "POST")
      assert.match(request.body ?? "", /grant_type=refresh_token.*refresh_token=idt.*service=s/);
    return bearer(request, () => ({ status: 200, body: '{"access_token":"T1"}' }));
  });
  await read(client(identity, { credentials: { identityToken: "idt" } }));
  const registry = new FakeTransport((request) => bearer(request, () => ({ status: 500 })));
  await read(client(registry, { credentials: { registryToken: "T1" } }));
  assert.equal(registry.seen.length, 1);
});

test("a token that has run out is replaced during the pull", async () => {
  let current = "A";
  const transport = new FakeTransport((request) => {
    if (request.url.host === "auth.example") return { status: 200, body: JSON.stringify({ token: current }) };
    if (request.headers["authorization"] === `Bearer ${current}`) return { status: 200, body: blobBytes };
    return { status: 401, headers: { "www-authenticate": 'Bearer realm="https://auth.example/token"' } };
  });
  const c = client(transport);
  await read(c);
  current = "B";
  assert.equal(await read(c), blobBytes.toString());
});

test("credentials that are refused end it, and none of them is in the error", async () => {
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
    await assert.rejects(client(transport, { credentials: secrets }).manifest("v1", signal), (error) => {
      assert.ok(error instanceof StatusError && error.code === Code.Unauthenticated, String(error));
      assert.doesNotMatch(error.message, /geheim|user1/);
      return transport.seen.length <= 4;
    });
  }
});

test("credentials for another registry are not sent, and no token server without TLS gets any", async () => {
  const other = new FakeTransport(() => ({ status: 401, headers: { "www-authenticate": 'Basic realm="x"' } }));
  await assert.rejects(
    client(other, {
      credentials: { username: "u", password: "p", serverAddress: "https://other.example/v1/" },
    }).manifest("v1", signal),
  );
  assert.equal(other.seen.length, 1);
  const plain = new FakeTransport(() => ({
    status: 401,
    headers: { "www-authenticate": 'Bearer realm="http://auth.example/token"' },
  }));
  await assert.rejects(
    client(plain, { credentials: { username: "u", password: "p" } }).manifest("v1", signal),
    isStatus(Code.Unauthenticated, /not an https address/),
  );
  assert.equal(plain.seen.length, 1);
});

test("a redirect to another host gets no Authorization and none of the host's own headers or certificates", async () => {
  const requests: HttpRequest[] = [];
  const transport = new FakeTransport((request) => {
    requests.push(request);
    return request.url.host === "r.example"
      ? { status: 307, headers: { location: "https://cdn.example/x?sig=1" } }
      : { status: 200, body: blobBytes };
  });
  const own = host("https://r.example/v2", {
    headers: { "x-own": "1" },
    tls: { ca: ["CA"], client: { cert: "C", key: "K" }, skipVerify: false },
  });
  assert.equal(
    await read(client(transport, { hosts: [own], credentials: { registryToken: "T" } })),
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

test("redirects that lose TLS or go round are refused", async () => {
  const down = new FakeTransport(() => ({ status: 302, headers: { location: "http://cdn.example/x" } }));
  await assert.rejects(
    read(client(down)),
    isStatus(Code.FailedPrecondition, /names a redirect that is not an https address/),
  );
  const round = new FakeTransport((request) => ({ status: 302, headers: { location: request.url.href } }));
  await assert.rejects(read(client(round)), isStatus(Code.FailedPrecondition, /more than 5 redirects/));
});

test("mirrors are tried in order with ?ns=, and the error tells what each answered", async () => {
  const hosts = [
    host("https://m1.example/v2", { namespace: "r.example" }),
    host("https://m2.example/v2", { resolve: false }),
    host("https://r.example/v2"),
  ];
  const good = new FakeTransport((request) =>
    request.url.host === "m1.example" ? { status: 404 } : { status: 200, body: blobBytes },
  );
  assert.equal(await read(client(good, { hosts })), blobBytes.toString());
  assert.deepEqual(
    good.seen.map((line) => line.replace(/sha256:\w+/, "D")),
    ["GET https://m1.example/v2/app/blobs/D?ns=r.example -", "GET https://m2.example/v2/app/blobs/D -"],
  );
  const bad = new FakeTransport((request) => ({ status: request.url.host === "m1.example" ? 403 : 404 }));
  await assert.rejects(
    client(bad, { hosts }).manifest("v1", signal),
    isStatus(Code.NotFound, /m1\.example.*403.*then r\.example.*404/),
  );
});

test("a mirror that does not answer is asked twice and then not again in this pull", async () => {
  const hosts = [host("https://m1.example/v2"), host("https://r.example/v2")];
  const transport = new FakeTransport((request) =>
    request.url.host === "m1.example" ? new StatusError(Code.Unavailable, "refused") : { status: 200, body: blobBytes },
  );
  const c = client(transport, { hosts });
  await read(c);
  await read(c);
  assert.deepEqual(
    transport.seen.map((line) => /\/\/(\w+)/.exec(line)?.[1]),
    ["m1", "m1", "r", "r"],
  );
  assert.deepEqual(
    c.access().hosts.map((h) => h.baseUrl),
    ["https://r.example/v2"],
  );
});

test("a manifest by digest is checked, by tag it gets its digest from its bytes", async () => {
  const body = '{"schemaVersion":2}';
  const headers = {
    "content-type": "application/vnd.oci.image.index.v1+json; charset=utf-8",
    "docker-content-digest": digestOf("lie"),
  };
  const transport = new FakeTransport(() => ({ status: 200, body, headers }));
  assert.deepEqual(await client(transport).manifest("v1", signal), {
    bytes: Buffer.from(body),
    mediaType: "application/vnd.oci.image.index.v1+json",
    digest: digestOf(body),
  });
  await assert.rejects(
    client(transport).manifest(digestOf("other"), signal),
    isStatus(Code.DataLoss, /expected the digest/),
  );
  assert.equal(await client(transport).resolve("v1", signal), digestOf("lie"));
});

test("an endless manifest is cut off", async () => {
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) yield Buffer.alloc(65536);
  }
  await assert.rejects(
    client(new FakeTransport(() => ({ status: 200, body: endless() }))).manifest("v1", signal),
    isStatus(Code.InvalidArgument, /more than/),
  );
});

test("an aborted signal ends waits and downloads with its reason", async () => {
  const abort = new AbortController();
  const transport = new FakeTransport((_, count) => {
    if (count === 2) abort.abort(new Error("deadline"));
    return new StatusError(Code.Unavailable, "refused");
  });
  await assert.rejects(client(transport).manifest("v1", abort.signal), /deadline/);
  assert.equal(transport.seen.length, 2);
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
      read(client(redirect, { credentials })),
      isStatus(
        Code.FailedPrecondition,
        /r\.example names a redirect (that is not an https address|at .* that is refused)/,
      ),
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
      read(client(realm, { credentials })),
      (error) =>
        isStatus(
          Code.Unauthenticated,
          /names a token server (that is not an https address|at .* that is refused)/,
        )(error) && !String(error).includes("geheim"),
    );
    assert.equal(realm.seen.length, 1);
  });
}

test("a registry on this machine may lead to this machine, but not to link-local services", async () => {
  const local = (location: string) =>
    new FakeTransport((_, count) =>
      count === 1 ? { status: 307, headers: { location } } : { status: 200, body: blobBytes },
    );
  const hosts = [host("http://127.0.0.1:5000/v2")];
  assert.equal(await read(client(local("http://localhost:5001/blob"), { hosts })), blobBytes.toString());
  await assert.rejects(
    read(client(local("http://169.254.169.254/"), { hosts })),
    isStatus(Code.FailedPrecondition, /169\.254\.169\.254, which only this node reaches/),
  );
});

test("a redirect's or realm's name is looked up under guard, a registry's own is not", async () => {
  const guards: (boolean | undefined)[] = [];
  const transport = new FakeTransport((request) => {
    guards.push(request.mayReach?.("169.254.169.254"));
    return request.url.host === "r.example"
      ? { status: 307, headers: { location: "https://cdn.example/x" } }
      : { status: 200, body: blobBytes };
  });
  await read(client(transport));
  assert.deepEqual(guards, [undefined, false]);
});

test("a login in the address of a redirect is not sent", async () => {
  const transport = new FakeTransport((request) =>
    request.url.host === "r.example"
      ? { status: 307, headers: { location: "https://a:b@cdn.example/x" } }
      : { status: 200, body: blobBytes },
  );
  await read(client(transport));
  assert.match(transport.seen[1]!, /^GET https:\/\/cdn\.example\/x -$/);
});
