// Images that are made to do harm: each pull is refused with the reason and leaves nothing, and a good image can be
// pulled.
import assert from "node:assert/strict";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { silentLog } from "@keelson/base/log.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { digestOf, type Image, type Layer, makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { Registry } from "@keelson/testkit/registry.ts";
import { directory, file, tar } from "@keelson/testkit/tar.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { openTestImages } from "./testing/test-images.ts";
import type { LayerLimits } from "./unpack/layer-limits.ts";

await warmThreadPool();

const good = makeImage([makeLayer([file("good", "good")])]);

async function hostileFixture(t: TestContext, layerLimits: Partial<LayerLimits> = {}) {
  const root = fs.mkdtempSync(join(tmpdir(), "keelson-hostile-"));
  const registry = await Registry.start();
  const db = openDatabase(join(root, "state.db"));
  const images = await openTestImages({ root, db, log: silentLog, layersInUse: () => [], layerLimits });
  t.after(async () => {
    await pull(registry.add("good", "v1", good));
    await images[Symbol.asyncDispose]();
    db.close();
    await registry[Symbol.asyncDispose]();
    fs.rmSync(root, { recursive: true });
  });
  const pull = (reference: string) => images.puller.pull({ reference, signal: AbortSignal.timeout(30_000) });
  let sequence = 0;
  const refuses = async (image: Image | string, code: Code, words: RegExp) => {
    const reference = typeof image === "string" ? image : registry.add("bad", `v${(sequence += 1)}`, image);
    await assert.rejects(pull(reference), (error) => {
      assert.ok(error instanceof StatusError, String(error));
      assert.equal(error.code, code, error.message);
      assert.match(error.message, words);
      assert.ok(error.message.startsWith("pull image ") && error.message.length < 1500, error.message);
      return true;
    });
    await waitFor(() => fs.readdirSync(join(root, "layers")).length === 1, {
      message: () => `left: ${fs.readdirSync(join(root, "layers")).join(" ")}`,
    });
    assert.deepEqual(images.store.list(), []);
    assert.equal(images.store.layers.usage.bytes, 0);
  };
  return { registry, refuses, pull };
}

/** A layer with a file of `mebibytes` MiB of zeros. To need less memory, it is made of many frames or members. */
function bomb(mebibytes: number, compression: "gzip" | "zstd"): Layer {
  const compress = compression === "gzip" ? gzipSync : zstdCompressSync;
  const step = 16;
  const zeros = compress(Buffer.alloc(step * 1024 * 1024));
  const header = tar([file("zeros", "")]).subarray(0, 512);
  header.write(`${(mebibytes * 1024 * 1024).toString(8).padStart(11, "0")}\0`, 124);
  header.fill(" ", 148, 156);
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, "0")}\0 `,
    148,
  );
  const bytes = Buffer.concat([
    compress(header),
    ...Array.from({ length: mebibytes / step }, () => zeros),
    compress(Buffer.alloc(1024)),
  ]);
  return {
    mediaType: `application/vnd.oci.image.layer.v1.tar+${compression}`,
    bytes,
    digest: digestOf(bytes),
    diffId: digestOf("not reached"),
    tar: Buffer.alloc(0),
  };
}

test("a layer that unpacks to more than the limit, or to too many times its size, is refused", async (t) => {
  const { refuses } = await hostileFixture(t, { maxBytes: 64 * 1024 * 1024 });
  for (const compression of ["gzip", "zstd"] as const) {
    await refuses(
      makeImage([bomb(128, compression)]),
      Code.ResourceExhausted,
      /layer sha256:\w+: unpacks to more than 67108864 bytes; .*max_layer_bytes in \[images\]/,
    );
  }
  const ratio = await hostileFixture(t, { maxRatio: 200 });
  for (const compression of ["gzip", "zstd"] as const) {
    await ratio.refuses(
      makeImage([bomb(320, compression)]),
      Code.ResourceExhausted,
      /unpacks to more than 200 times its \d+ bytes; .*max_layer_ratio/,
    );
  }
  // Small layers may have any ratio.
  await ratio.pull(
    ratio.registry.add("zeros", "v1", makeImage([makeLayer([file("zeros", Buffer.alloc(4 * 1024 * 1024))])])),
  );
});

test("zeros after the end of the archive count too", async (t) => {
  const { refuses } = await hostileFixture(t, { maxBytes: 1024 * 1024 });
  await refuses(
    makeImage([makeLayer(Buffer.concat([tar([file("a", "a")]), Buffer.alloc(2 * 1024 * 1024)]))]),
    Code.ResourceExhausted,
    /max_layer_bytes/,
  );
});

test("too many entries and names that are too long are refused with the reason", async (t) => {
  const { refuses, pull, registry } = await hostileFixture(t, { maxEntries: 100, maxPathBytes: 300 });
  const files = (count: number) => makeImage([makeLayer(Array.from({ length: count }, (_, i) => file(`f${i}`, "")))]);
  await refuses(files(101), Code.ResourceExhausted, /more than 100 entries; .*max_layer_entries/);
  const deep = (bytes: number) => makeImage([makeLayer([file("d/".repeat((bytes - 1) / 2) + "f", "")])]);
  await refuses(
    deep(301),
    Code.ResourceExhausted,
    /tar entry "d\/d\/.*its name has 301 bytes, more than 300; .*max_path_bytes/,
  );
  await pull(registry.add("good", "edge", makeImage([makeLayer([directory("d/"), file("d/".repeat(149) + "f", "")])])));
});

test("a manifest or a config with 10,000 layers is refused with that number", async (t) => {
  const { refuses, registry } = await hostileFixture(t);
  const layer = makeLayer([]);
  await refuses(
    makeImage(Array.from({ length: 10_000 }, () => layer)),
    Code.InvalidArgument,
    /manifest: layers has 10000 elements, more than the limit of 1000/,
  );
  assert.equal(registry.count({ pathIncludes: "/blobs/" }), 0);
  const { config } = makeImage(Array.from({ length: 10_000 }, () => layer));
  const { manifest } = withConfig(makeImage([layer]), config);
  await refuses(
    { ...makeImage([layer]), config, manifest },
    Code.InvalidArgument,
    /image config: rootfs\.diff_ids has 10000 elements/,
  );
});

test("a manifest list that contains itself, or lists without end, is refused", async (t) => {
  const { refuses, registry } = await hostileFixture(t);
  const platform = { os: "linux", architecture: process.arch === "x64" ? "amd64" : process.arch };
  const list = (digest: string, size: number) => ({
    schemaVersion: 2,
    mediaType: indexType,
    manifests: [{ mediaType: indexType, digest, size, platform }],
  });
  // No list can contain its own digest, so the registry must lie, and the digest shows it.
  const liar = Buffer.from(JSON.stringify(list(digestOf("itself"), 100)));
  using _ = registry.inject(
    { kind: "status", status: 200, headers: { "content-type": indexType }, body: liar.toString() },
    { pathIncludes: "/self/manifests/" },
  );
  await refuses(`${registry.host}/self:v1`, Code.DataLoss, /expected the digest/);
  let bytes = good.manifest.bytes;
  let image: Image = good;
  for (let depth = 0; depth < 5; depth += 1) {
    bytes = Buffer.from(JSON.stringify(list(digestOf(bytes), bytes.length)));
    image = { ...good, manifest: { mediaType: indexType, digest: digestOf(bytes), bytes } };
    registry.add("deep", "v1", image);
  }
  await refuses(`${registry.host}/deep:v1`, Code.InvalidArgument, /leads from index to index/);
});

test("an HTML page, an empty answer and a config that is not JSON are refused with the reason", async (t) => {
  const { refuses, registry } = await hostileFixture(t);
  const page = "<!DOCTYPE html><html><body>Please log in to the hotel's network</body></html>";
  {
    using _ = registry.inject(
      { kind: "status", status: 200, headers: { "content-type": "text/html" }, body: page },
      { pathIncludes: "/manifests/" },
    );
    await refuses(`${registry.host}/page:v1`, Code.InvalidArgument, /manifest: it is not JSON/);
  }
  {
    using _ = registry.inject(
      { kind: "status", status: 200, headers: { "content-type": "text/html" }, body: "" },
      { pathIncludes: "/manifests/" },
    );
    await refuses(`${registry.host}/page:v1`, Code.InvalidArgument, /manifest: it is not JSON/);
  }
  const config = {
    mediaType: "application/vnd.oci.image.config.v1+json",
    bytes: Buffer.from(page),
    digest: digestOf(page),
  };
  await refuses(withConfig(good, config), Code.InvalidArgument, /image config: it is not JSON/);
});

const indexType = "application/vnd.oci.image.index.v1+json";

/** The image with another config, and a manifest that says so. */
function withConfig(image: Image, config: Image["config"]): Image {
  const manifest = JSON.parse(image.manifest.bytes.toString()) as { config: object };
  manifest.config = { mediaType: config.mediaType, digest: config.digest, size: config.bytes.length };
  const bytes = Buffer.from(JSON.stringify(manifest));
  return { ...image, config, manifest: { ...image.manifest, bytes, digest: digestOf(bytes) } };
}
