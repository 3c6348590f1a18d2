import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { digestOf, type Image, makeImage, makeIndex, makeLayer, randomImage } from "@keelson/testkit/image.ts";
import { Registry, type RegistryOptions } from "@keelson/testkit/registry.ts";
import { directory, file } from "@keelson/testkit/tar.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import type { Images } from "./open-images.ts";
import { openTestImages } from "./testing/test-images.ts";

/** Pulls from registries on this machine into a real store. Needs root: layers are unpacked. */

await warmThreadPool();

interface Fixture {
  root: string;
  images: Images;
  inUse: Set<string>;
}

async function openStore(
  t: TestContext,
  options: { keepLayers?: boolean; hostsDirectories?: string[] } = {},
): Promise<Fixture> {
  const root = fs.mkdtempSync(join(tmpdir(), "keelson-pull-"));
  const db = openDatabase(join(root, "state.db"));
  const inUse = new Set<string>();
  const images = await openTestImages({
    root,
    db,
    log: silentLog,
    hostsDirectories: options.hostsDirectories ?? [],
    keepLayers: options.keepLayers ?? false,
    layersInUse: () => inUse,
  });
  t.after(async () => {
    await images[Symbol.asyncDispose]();
    db.close();
    fs.rmSync(root, { recursive: true });
  });
  return { root, images, inUse };
}

async function startRegistry(t: TestContext, options: RegistryOptions = {}): Promise<Registry> {
  const registry = await Registry.start(options);
  t.after(() => registry[Symbol.asyncDispose]());
  return registry;
}

const soon = () => AbortSignal.timeout(60_000);

function isStatus(code: Code, why: RegExp) {
  return (error: unknown) => error instanceof StatusError && error.code === code && why.test(error.message);
}

function contentOf(images: Images, reference: string, path: string): string {
  const image = images.store.find(reference);
  assert.ok(image !== undefined, reference);
  const found = images.store
    .lowerDirectories(image)
    .map((dir) => join(dir, path))
    .find((at) => fs.existsSync(at));
  return fs.readFileSync(found ?? path, "utf8");
}

const credentials = { username: "user", password: "geheim", identityToken: "", registryToken: "", serverAddress: "" };

for (const format of ["oci", "docker"] as const) {
  test(`an image is pulled by tag and by digest, its names are what the CRI wants (${format})`, async (t) => {
    const registry = await startRegistry(t);
    const { images } = await openStore(t);
    const image = makeImage(
      [makeLayer([file("a", "lower")], { format }), makeLayer([file("b", "upper")], { format, compression: "zstd" })],
      { format, config: { Cmd: ["x"], User: "7" } },
    );
    const tag = registry.add("lib/app", "v1", image);
    const digest = `${registry.host}/lib/app@${image.manifest.digest}`;
    const byDigest = await images.puller.pull({ reference: digest, signal: soon() });
    assert.deepEqual([byDigest.id, byDigest.repoTags, byDigest.repoDigests], [image.config.digest, [], [digest]]);
    const byTag = await images.puller.pull({ reference: tag, signal: soon() });
    assert.deepEqual(
      [byTag.id, byTag.repoTags, byTag.repoDigests, byTag.config.user],
      [image.config.digest, [tag], [digest], "7"],
    );
    assert.equal(images.store.list().length, 1);
    assert.equal(registry.count({ method: "GET", pathIncludes: "/blobs/" }), 3, "the second pull fetched nothing");
    assert.deepEqual([contentOf(images, tag, "a"), contentOf(images, digest, "b")], ["lower", "upper"]);
    images.store.remove(digest);
    assert.deepEqual(images.store.list(), []);
  });
}

test("of an index this machine's manifest is taken, and the digest is the index's", async (t) => {
  const registry = await startRegistry(t);
  const { images } = await openStore(t);
  const own = { x64: "amd64", arm64: "arm64" }[process.arch as string] ?? process.arch;
  const of = (architecture: string) =>
    makeImage([makeLayer([file("arch", architecture)])], { platform: { os: "linux", architecture } });
  const index = makeIndex([of("s390x"), of(own), of("riscv64")]);
  const reference = registry.add("multi", "latest", index);
  const pulled = await images.puller.pull({ reference: `${registry.host}/multi`, signal: soon() });
  assert.deepEqual(
    [pulled.repoTags, pulled.repoDigests],
    [[reference], [`${registry.host}/multi@${index.manifest.digest}`]],
  );
  assert.equal(contentOf(images, reference, "arch"), own);
  registry.add("multi", "other", makeIndex([of("s390x")]));
  await assert.rejects(
    images.puller.pull({ reference: `${registry.host}/multi:other`, signal: soon() }),
    isStatus(Code.NotFound, /only for: linux\/s390x/),
  );
});

test("pulls at the same time share one download, and so do the layers that images have in common", async (t) => {
  const registry = await startRegistry(t);
  const { images } = await openStore(t);
  const shared = makeLayer([file("shared", "s".repeat(100_000))]);
  const first = registry.add("a", "v1", makeImage([shared, makeLayer([file("a", "a")])]));
  const second = registry.add("b", "v1", makeImage([shared, makeLayer([file("b", "b")])]));
  const pulls = [first, first, second, first, second].map((reference) =>
    images.puller.pull({ reference, signal: soon() }),
  );
  const ids = (await Promise.all(pulls)).map((image) => image.id);
  assert.equal(new Set(ids).size, 2);
  assert.equal(registry.count({ pathIncludes: shared.digest }), 1);
  assert.equal(registry.count({ method: "GET", pathIncludes: "/manifests/" }), 2);
  assert.equal([...images.store.layers.all()].length, 3);
});

test("a caller that goes away leaves the shared download to the other one", async (t) => {
  const registry = await startRegistry(t);
  const { images } = await openStore(t);
  const shared = makeLayer([file("shared", Buffer.alloc(300_000, "s"))], { compression: "none" });
  const first = registry.add("a", "v1", makeImage([shared, makeLayer([file("a", "a")])]));
  const second = registry.add("b", "v1", makeImage([shared, makeLayer([file("b", "b")])]));
  using _ = registry.inject({ kind: "slow", bytesPerSecond: 600_000 }, { pathIncludes: shared.digest });
  const abort = new AbortController();
  const left = images.puller.pull({ reference: first, signal: abort.signal });
  const stays = images.puller.pull({ reference: second, signal: soon() });
  await waitFor(() => registry.count({ pathIncludes: shared.digest }) > 0);
  await waitFor(() => images.puller.pullsInProgress().every((p) => p.layers.length === 2));
  abort.abort();
  await assert.rejects(left, isStatus(Code.Cancelled, /during: fetching layers/));
  assert.equal((await stays).repoTags[0], second);
  assert.equal(registry.count({ pathIncludes: shared.digest }), 1);
});

test("a pull that is aborted anywhere leaves nothing behind and says how far it was", async (t) => {
  const registry = await startRegistry(t);
  const { root, images } = await openStore(t);
  const image = randomImage({ layers: 4, files: 40, bytes: 400_000 });
  const reference = registry.add("big", "v1", image);
  const clean = () =>
    waitFor(
      () =>
        fs.readdirSync(join(root, "layers")).length === 1 &&
        images.store.layers.usage.bytes === 0 &&
        images.puller.pullsInProgress().length === 0,
    );
  await assert.rejects(
    images.puller.pull({ reference, signal: AbortSignal.timeout(1) }),
    isStatus(Code.DeadlineExceeded, /pull image .*big:v1/),
  );
  await clean();
  using _ = registry.inject({ kind: "slow", bytesPerSecond: 200_000 }, { pathIncludes: "/blobs/" });
  for (const afterMs of [5, 30, 100, 300, 600]) {
    await assert.rejects(
      images.puller.pull({ reference, signal: AbortSignal.timeout(afterMs) }),
      isStatus(Code.DeadlineExceeded, /pull image/),
    );
    await clean();
  }
  assert.deepEqual(images.store.list(), []);
});

test("progress tells each layer's bytes", async (t) => {
  const registry = await startRegistry(t);
  const { images } = await openStore(t);
  const image = randomImage({ layers: 2, files: 4, bytes: 300_000, compression: "none" });
  const reference = registry.add("p", "v1", image);
  using _ = registry.inject({ kind: "slow", bytesPerSecond: 400_000 }, { pathIncludes: "/blobs/" });
  const abort = new AbortController();
  const pull = images.puller.pull({ reference, signal: abort.signal });
  const progress = await waitFor(() =>
    images.puller.pullsInProgress().find((p) => p.layers.some((l) => l.receivedBytes > 0)),
  );
  assert.equal(progress.reference, reference);
  assert.deepEqual(
    progress.layers.map((l) => l.totalBytes),
    image.layers.map((l) => l.bytes.length),
  );
  abort.abort();
  await assert.rejects(pull);
});

test("broken connections, refused ranges and passing errors are got over", async (t) => {
  const registry = await startRegistry(t);
  const { images } = await openStore(t);
  const image = randomImage({ layers: 3, files: 10, bytes: 500_000, compression: "none" });
  const reference = registry.add("flaky", "v1", image);
  const [a, b, c] = image.layers.map((layer) => layer.digest) as [string, string, string];
  registry.inject({ kind: "drop", afterBytes: 100_000 }, { pathIncludes: a, times: 2 });
  registry.inject({ kind: "drop", afterBytes: 100_000 }, { pathIncludes: b, times: 1 });
  registry.inject({ kind: "ignore-range" }, { pathIncludes: b });
  registry.inject({ kind: "status", status: 503 }, { pathIncludes: c, times: 2 });
  registry.inject({ kind: "drop", afterBytes: 0 }, { pathIncludes: "/manifests/", times: 1 });
  await images.puller.pull({ reference, signal: soon() });
  assert.ok(registry.requests.some((r) => r.range === "bytes=100000-" || r.range === "bytes=200000-"));
});

test("wrong bytes, a wrong diff id and a wrong manifest are refused and leave nothing", async (t) => {
  const registry = await startRegistry(t);
  const { root, images } = await openStore(t);
  const image = randomImage({ layers: 2, files: 3, bytes: 100_000 });
  const reference = registry.add("bad", "v1", image);
  const clean = () => waitFor(() => fs.readdirSync(join(root, "layers")).length === 1);
  for (const wrong of [image.layers[0]?.digest, image.layers[1]?.digest, image.config.digest] as string[]) {
    using _ = registry.inject({ kind: "corrupt" }, { pathIncludes: wrong });
    await assert.rejects(
      images.puller.pull({ reference, signal: soon() }),
      (error) => error instanceof StatusError && [Code.DataLoss, Code.InvalidArgument].includes(error.code as never),
    );
    await clean();
  }
  {
    using _ = registry.inject({ kind: "corrupt" }, { pathIncludes: image.manifest.digest });
    await assert.rejects(
      images.puller.pull({ reference: `${registry.host}/bad@${image.manifest.digest}`, signal: soon() }),
      isStatus(Code.DataLoss, /expected the digest/),
    );
  }
  const layer = makeLayer([file("x", "x")]);
  const lying = registry.add("lying", "v1", makeImage([{ ...layer, diffId: digestOf("something else") }]));
  await assert.rejects(
    images.puller.pull({ reference: lying, signal: soon() }),
    isStatus(Code.DataLoss, /uncompressed layer .*expected the digest/),
  );
  await clean();
  assert.equal((await images.puller.pull({ reference, signal: soon() })).repoTags[0], reference);
});

test("a layer that fails takes the others of its image with it", async (t) => {
  const registry = await startRegistry(t);
  const { root, images } = await openStore(t);
  const image = randomImage({ layers: 5, files: 3, bytes: 50_000 });
  const reference = registry.add("half", "v1", image);
  using _ = registry.inject({ kind: "status", status: 404 }, { pathIncludes: image.layers[3]?.digest as string });
  await assert.rejects(
    images.puller.pull({ reference, signal: soon() }),
    isStatus(Code.NotFound, /layer sha256:.*404/),
  );
  await waitFor(() => fs.readdirSync(join(root, "layers")).length === 1);
  assert.equal(images.store.layers.usage.bytes, 0);
});

for (const auth of [
  { kind: "basic", username: "user", password: "geheim" },
  { kind: "token", username: "user", password: "geheim" },
] as const) {
  test(`a private image needs its credentials (${auth.kind}), also while another pull of it runs`, async (t) => {
    const registry = await startRegistry(t, { auth, redirectBlobs: true });
    const { images } = await openStore(t);
    const reference = registry.add("private", "v1", randomImage({ layers: 2, files: 2, bytes: 10_000 }));
    const [allowed, refused, wrong] = await Promise.allSettled([
      images.puller.pull({ reference, credentials, signal: soon() }),
      images.puller.pull({ reference, signal: soon() }),
      images.puller.pull({ reference, credentials: { ...credentials, password: "falsch" }, signal: soon() }),
    ]);
    assert.equal(allowed.status, "fulfilled", String((allowed as PromiseRejectedResult).reason));
    for (const result of [refused, wrong]) {
      assert.ok(
        result.status === "rejected" && isStatus(Code.Unauthenticated, /access denied/)(result.reason),
        JSON.stringify(result),
      );
      assert.doesNotMatch(String(result.reason), /geheim|falsch/);
    }
    // Nor is an image that is here already given to who may not pull it.
    await assert.rejects(images.puller.pull({ reference, signal: soon() }), isStatus(Code.Unauthenticated, /401/));
  });
}

test("a tag that moved is taken from the old image, whose layers go when nothing needs them", async (t) => {
  const registry = await startRegistry(t);
  const { images, inUse } = await openStore(t);
  const reference = registry.add("moving", "latest", makeImage([makeLayer([file("v", "1")])]));
  const old = await images.puller.pull({ reference, signal: soon() });
  registry.add("moving", "latest", makeImage([makeLayer([file("v", "2")])]));
  const fresh = await images.puller.pull({ reference, signal: soon() });
  assert.notEqual(old.id, fresh.id);
  assert.deepEqual([images.store.find(old.id)?.repoTags, fresh.repoTags], [[], [reference]]);
  for (const id of old.layers) inUse.add(id);
  const [directoryOfOld] = images.store.lowerDirectories(old) as [string];
  images.store.remove(old.id);
  await images.store.close();
  assert.equal(fs.readFileSync(join(directoryOfOld, "v"), "utf8"), "1");
  inUse.clear();
  images.store.collectGarbage();
  await images.store.close();
  assert.equal(fs.existsSync(directoryOfOld), false);
  assert.equal(contentOf(images, reference, "v"), "2");
});

test("kept layers lie under their digests, and nothing of a failed one does", async (t) => {
  const registry = await startRegistry(t);
  const { root, images } = await openStore(t, { keepLayers: true });
  const image = randomImage({ layers: 2, files: 2, bytes: 100_000 });
  const reference = registry.add("kept", "v1", image);
  {
    using _ = registry.inject({ kind: "corrupt" }, { pathIncludes: image.layers[0]?.digest as string });
    await assert.rejects(images.puller.pull({ reference, signal: soon() }));
  }
  assert.deepEqual(fs.globSync(join(root, "blobs/*/*")), []);
  await images.puller.pull({ reference, signal: soon() });
  const kept = fs.readdirSync(join(root, "blobs/sha256"));
  assert.deepEqual(kept.sort(), image.layers.map((layer) => layer.digest.slice(7)).sort());
  for (const hex of kept)
    assert.equal(
      createHash("sha256")
        .update(fs.readFileSync(join(root, "blobs/sha256", hex)))
        .digest("hex"),
      hex,
    );
});

test("mirrors of hosts.toml serve an image under its own name", async (t) => {
  const registry = await startRegistry(t);
  const dir = fs.mkdtempSync(join(tmpdir(), "keelson-certs-"));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  fs.mkdirSync(join(dir, "registry.invalid"));
  fs.writeFileSync(
    join(dir, "registry.invalid/hosts.toml"),
    `[host."http://127.0.0.1:1"]\n[host."http://${registry.host}"]\n`,
  );
  const { images } = await openStore(t, { hostsDirectories: [dir] });
  registry.add("app", "v1", makeImage([makeLayer([file("x", "x")])]));
  const pulled = await images.puller.pull({ reference: "registry.invalid/app:v1", signal: soon() });
  assert.deepEqual(pulled.repoTags, ["registry.invalid/app:v1"]);
  assert.ok(registry.requests.every((request) => request.path.includes("ns=registry.invalid")));
});

test("what is no image is refused by name", async (t) => {
  const registry = await startRegistry(t);
  const { images } = await openStore(t);
  const image = makeImage([makeLayer([])]);
  const pull = (reference: string) => images.puller.pull({ reference, signal: soon() });
  await assert.rejects(pull("Not:A:Reference"), isStatus(Code.InvalidArgument, /image reference/));
  await assert.rejects(pull(`${registry.host}/nothing:here`), isStatus(Code.NotFound, /no such image/));
  registry.add("old", "v1", image);
  using _ = registry.inject(
    {
      kind: "status",
      status: 200,
      headers: { "content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws" },
      body: '{"schemaVersion":1}',
    },
    { pathIncludes: "/old/manifests/" },
  );
  await assert.rejects(pull(`${registry.host}/old:v1`), isStatus(Code.Unimplemented, /schema 1/));
  await assert.rejects(pull("127.0.0.1:1/x"), isStatus(Code.Unavailable, /127\.0\.0\.1:1/));
  assert.deepEqual(images.store.list(), []);
});

test("an image without layers is one", async (t) => {
  const registry = await startRegistry(t);
  const { images } = await openStore(t);
  const pulled = await images.puller.pull({ reference: registry.add("empty", "v1", makeImage([])), signal: soon() });
  assert.deepEqual(
    images.store.lowerDirectories(pulled).map((dir) => fs.readdirSync(dir)),
    [[]],
  );
});

test("a disk that is full ends the pull with ResourceExhausted and is as empty as before", async (t) => {
  const registry = await startRegistry(t);
  const { root, images } = await openStore(t);
  const reference = registry.add("large", "v1", randomImage({ layers: 2, files: 4, bytes: 4_000_000 }));
  const layers = join(root, "layers");
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", layers]);
  using _ = { [Symbol.dispose]: () => execFileSync("umount", [layers]) };
  await assert.rejects(
    images.puller.pull({ reference, signal: soon() }),
    isStatus(Code.ResourceExhausted, /tar entry .*no space left/),
  );
  await waitFor(() => fs.readdirSync(layers).length === 0);
});

test("Debian's docker-registry with htpasswd: what skopeo pushed is pulled", async (t) => {
  const dir = fs.mkdtempSync(join(tmpdir(), "keelson-registry-"));
  const host = await startDockerRegistry(t, dir);
  const image = makeImage([makeLayer([directory("d/"), file("d/f", "hello")])]);
  pushWithSkopeo(dir, image, `${host}/team/app:v1`);
  const { images } = await openStore(t);
  await assert.rejects(
    images.puller.pull({ reference: `${host}/team/app:v1`, signal: soon() }),
    isStatus(Code.Unauthenticated, /401/),
  );
  const pulled = await images.puller.pull({ reference: `${host}/team/app:v1`, credentials, signal: soon() });
  assert.equal(pulled.id, image.config.digest);
  assert.equal(contentOf(images, pulled.id, "d/f"), "hello");
});

/** docker-registry on a free port, with the user of `credentials`. */
async function startDockerRegistry(t: TestContext, dir: string): Promise<string> {
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  fs.writeFileSync(join(dir, "htpasswd"), "user:$2b$04$7EZcFjNlkiXMssWAa6uBjec9EwP.bqorNILE/.T0AAU5yoFci8Lr2\n");
  fs.writeFileSync(
    join(dir, "config.yml"),
    `version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: ${dir}/data}}\nhttp: {addr: "${host}"}\nauth: {htpasswd: {realm: test, path: ${dir}/htpasswd}}\n`,
  );
  const server = spawn("docker-registry", ["serve", join(dir, "config.yml")], {
    stdio: "ignore",
    env: { ...process.env, OTEL_TRACES_EXPORTER: "none" },
  });
  t.after(async () => {
    const exited = new Promise((resolve) => server.once("exit", resolve));
    server.kill();
    await exited;
    fs.rmSync(dir, { recursive: true });
  });
  await waitFor(() =>
    fetch(`http://${host}/v2/`).then(
      (r) => r.status === 401 || undefined,
      () => undefined,
    ),
  );
  return host;
}

function pushWithSkopeo(dir: string, image: Image, name: string): void {
  const layout = join(dir, "layout");
  fs.mkdirSync(join(layout, "blobs/sha256"), { recursive: true });
  for (const blob of [image.manifest, image.config, ...image.layers])
    fs.writeFileSync(join(layout, "blobs/sha256", blob.digest.slice(7)), blob.bytes);
  fs.writeFileSync(join(layout, "oci-layout"), '{"imageLayoutVersion":"1.0.0"}');
  const entry = {
    mediaType: image.manifest.mediaType,
    digest: image.manifest.digest,
    size: image.manifest.bytes.length,
  };
  fs.writeFileSync(join(layout, "index.json"), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  execFileSync(
    "skopeo",
    ["copy", "-q", "--dest-tls-verify=false", "--dest-creds", "user:geheim", `oci:${layout}`, `docker://${name}`],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
