import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf, makeImage, makeIndex, makeLayer, type Image } from "./image.ts";
import { Registry, type RegistryOptions } from "./registry.ts";
import { file } from "./tar.ts";

const image = makeImage([makeLayer([file("f", "x".repeat(5000))], { compression: "none" })]);
const layer = image.layers[0];
assert.ok(layer);
const blobPath = `/v2/some/app/blobs/${layer.digest}`;

async function serving(options: RegistryOptions = {}, content: Image = image) {
  const registry = await Registry.start(options);
  registry.add("some/app", "v1", content);
  const get = (path: string, headers: Record<string, string> = {}, method = "GET") =>
    fetch(`http://${registry.host}${path}`, { headers, method });
  return { registry, get, [Symbol.asyncDispose]: () => registry[Symbol.asyncDispose]() };
}

test("it serves manifests by tag and digest, blobs, ranges, tags and errors", async () => {
  await using server = await serving();
  const { registry, get } = server;
  assert.equal(registry.add("other", "1.0", makeIndex([image])), `${registry.host}/other:1.0`);
  const head = await get("/v2/some/app/manifests/v1", {}, "HEAD");
  assert.equal(head.headers.get("docker-content-digest"), image.manifest.digest);
  assert.equal(head.headers.get("content-type"), "application/vnd.oci.image.manifest.v1+json");
  const manifest = await get(`/v2/some/app/manifests/${image.manifest.digest}`);
  assert.equal(digestOf(await manifest.bytes()), image.manifest.digest);
  assert.equal((await get(`/v2/other/manifests/${image.manifest.digest}`)).status, 200);
  assert.equal(digestOf(await (await get(blobPath)).bytes()), layer.digest);
  for (const [range, contentRange] of [
    ["bytes=100-", `bytes 100-${layer.bytes.length - 1}/${layer.bytes.length}`],
    ["bytes=0-9", `bytes 0-9/${layer.bytes.length}`],
    ["bytes=-5", `bytes ${layer.bytes.length - 5}-${layer.bytes.length - 1}/${layer.bytes.length}`],
  ] as const) {
    const part = await get(blobPath, { range });
    assert.equal(part.status, 206);
    assert.equal(part.headers.get("content-range"), contentRange);
  }
  assert.equal((await get(blobPath, { range: "bytes=99999-" })).status, 416);
  assert.deepEqual(await (await get("/v2/some/app/tags/list")).json(), { name: "some/app", tags: ["v1"] });
  for (const [path, code] of [
    ["/v2/none/manifests/v1", "NAME_UNKNOWN"],
    ["/v2/some/app/manifests/v2", "MANIFEST_UNKNOWN"],
    [`/v2/some/app/blobs/${digestOf("")}`, "BLOB_UNKNOWN"],
  ] as const) {
    const missing = await get(path);
    assert.equal(missing.status, 404);
    assert.equal(((await missing.json()) as { errors: { code: string }[] }).errors[0]?.code, code);
  }
  assert.equal(registry.count({ method: "GET", pathIncludes: layer.digest }), 5);
});

test("it asks for a password", async () => {
  await using server = await serving({ auth: { kind: "basic", username: "u", password: "p" } });
  const { get } = server;
  const refused = await get("/v2/some/app/manifests/v1");
  assert.equal(refused.status, 401);
  assert.match(refused.headers.get("www-authenticate") ?? "", /^Basic /);
  assert.equal((await get("/v2/some/app/manifests/v1", { authorization: `Basic ${btoa("u:p")}` })).status, 200);
});

test("it asks for a token of the right scope, and issues one only for the right password", async () => {
  await using server = await serving({ auth: { kind: "token", username: "u", password: "p" } });
  const { registry, get } = server;
  const refused = await get("/v2/some/app/manifests/v1");
  assert.equal(
    refused.headers.get("www-authenticate"),
    `Bearer realm="http://${registry.host}/token",service="${registry.host}",scope="repository:some/app:pull"`,
  );
  const token = async (scope: string, password: string) => {
    const answer = await get(`/token?service=x&scope=${scope}`, { authorization: `Basic ${btoa(`u:${password}`)}` });
    return answer.ok ? ((await answer.json()) as { token: string }).token : answer.status;
  };
  const status = async (bearer: string | number) =>
    (await get("/v2/some/app/manifests/v1", { authorization: `Bearer ${bearer}` })).status;
  assert.equal(await token("repository:some/app:pull", "wrong"), 401);
  assert.equal(await status(await token("repository:other:pull", "p")), 401);
  const good = await token("repository:some/app:pull", "p");
  assert.equal(await status(good), 200);
  registry.expireTokens();
  assert.equal(await status(good), 401);
});

test("it redirects blobs to a store that refuses credentials", async () => {
  await using server = await serving({ redirectBlobs: true });
  const { get } = server;
  assert.equal(digestOf(await (await get(blobPath)).bytes()), layer.digest);
  const location = await fetch(`http://${server.registry.host}${blobPath}`, { redirect: "manual" });
  assert.equal(location.status, 307);
  assert.equal(
    (await fetch(location.headers.get("location") ?? "", { headers: { authorization: "Basic eA==" } })).status,
    400,
  );
});

test("it misbehaves as configured, as often as configured", async () => {
  await using server = await serving();
  const { registry, get } = server;
  registry.inject({ kind: "status", status: 500 }, { pathIncludes: layer.digest, times: 2 });
  registry.inject({ kind: "drop", afterBytes: 100 }, { pathIncludes: layer.digest, times: 1 });
  registry.inject({ kind: "drop", afterBytes: 0 }, { pathIncludes: layer.digest, times: 1 });
  registry.inject({ kind: "corrupt" }, { pathIncludes: layer.digest, times: 1 });
  registry.inject({ kind: "ignore-range" }, { pathIncludes: layer.digest, times: 1 });
  assert.deepEqual(
    [(await get(blobPath)).status, (await get("/v2/")).status, (await get(blobPath)).status],
    [500, 200, 500],
  );
  await assert.rejects(get(blobPath).then((answer) => answer.bytes()));
  await assert.rejects(get(blobPath));
  const corrupt = await (await get(blobPath)).bytes();
  assert.equal(corrupt.length, layer.bytes.length);
  assert.notEqual(digestOf(corrupt), layer.digest);
  assert.equal((await get(blobPath, { range: "bytes=10-" })).status, 200);
  {
    using _ = registry.inject({ kind: "slow", bytesPerSecond: 100_000 });
    const start = performance.now();
    assert.equal(digestOf(await (await get(blobPath)).bytes()), layer.digest);
    assert.ok(performance.now() - start > 40);
  }
  const gate = Promise.withResolvers<void>();
  registry.inject({ kind: "hold", until: gate.promise }, { times: 1 });
  const held = get(blobPath);
  assert.equal((await get(blobPath)).status, 200);
  gate.resolve();
  assert.equal((await held).status, 200);
});
