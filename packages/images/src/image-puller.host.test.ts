import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { digestOf, makeImage, makeIndex, makeLayer, randomImage } from "@keelson/testkit/image.ts";
import { file } from "@keelson/testkit/tar.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { contentOf, credentials, isStatus, openStore, soon, startRegistry } from "./testing/pull-fixture.ts";

/** Pulls from registries on this machine into a real store. Needs root: layers are unpacked. */

await warmThreadPool();

for (const format of ["oci", "docker"] as const) {
  test(`an image is pulled by tag and by digest, and has the names that the CRI expects (${format})`, async (t) => {
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

test("this machine's manifest is chosen from an index, and the image has the index's digest", async (t) => {
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

test("concurrent pulls share one download, also of layers that their images have in common", async (t) => {
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

test("when a caller is cancelled, a shared download continues for the other one", async (t) => {
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

test("a pull that is aborted at any point leaves nothing behind and says which stage it had reached", async (t) => {
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

test("progress includes the bytes of each layer", async (t) => {
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

test("a pull survives broken connections, refused ranges and temporary errors", async (t) => {
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

test("wrong bytes, a wrong diff id and a wrong manifest are refused and leave nothing behind", async (t) => {
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

test("when a layer fails, the others of its image are removed too", async (t) => {
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
  test(`a private image needs credentials (${auth.kind}), even while another pull of it is running`, async (t) => {
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
    // Nor does a caller who may not pull an image get one that is already on the node.
    await assert.rejects(images.puller.pull({ reference, signal: soon() }), isStatus(Code.Unauthenticated, /401/));
  });
}

test("a tag that has moved is removed from the old image, whose layers go when nothing needs them", async (t) => {
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

test("compressed layers are kept under their digests, but not those of a failed pull", async (t) => {
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

test("mirrors in hosts.toml serve an image under its own name", async (t) => {
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

test("what is not an image is refused with the reason", async (t) => {
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

test("an image without layers can be pulled", async (t) => {
  const registry = await startRegistry(t);
  const { images } = await openStore(t);
  const pulled = await images.puller.pull({ reference: registry.add("empty", "v1", makeImage([])), signal: soon() });
  assert.deepEqual(
    images.store.lowerDirectories(pulled).map((dir) => fs.readdirSync(dir)),
    [[]],
  );
});

test("when the disk is full, the pull fails with ResourceExhausted and removes what it has written", async (t) => {
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
