import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { busyboxImage, digestOf, makeImage, makeIndex, makeLayer, randomImage } from "./image.ts";
import { device, directory, fifo, file, hardLink, opaqueWhiteout, symlink, tar, whiteout } from "./tar.ts";

test("GNU tar reads every kind of entry as intended", (t) => {
  const dir = mkdtempSync(join(tmpdir(), "keelson-tar-"));
  t.after(() => rmSync(dir, { recursive: true }));
  const long = `deep/${"x".repeat(150)}/ü`;
  const archive = tar([
    directory("d/", { mode: 0o1777 }),
    file("d/f", "hello", {
      mode: 0o4755,
      uid: 33,
      gid: 5_000_000,
      mtimeSeconds: 1_700_000_000.5,
      xattrs: { "user.x": Uint8Array.of(0, 10, 255) },
    }),
    symlink("d/s", "/abs"),
    hardLink("d/h", "d/f"),
    device("d/c", "character-device", 1, 3),
    device("d/b", "block-device", 259, 70_000),
    fifo("d/p"),
    file(long, ""),
    whiteout("d/gone"),
    opaqueWhiteout("d"),
  ]);
  writeFileSync(join(dir, "a.tar"), archive);
  const listing = execFileSync(
    "tar",
    ["--numeric-owner", "--full-time", "--quoting-style=literal", "--utc", "--xattrs", "-tvvf", join(dir, "a.tar")],
    { encoding: "utf8" },
  );
  for (const part of [
    /^drwxrwxrwt +0\/0 +0 1970-01-01 00:00:00 +d\/$/m,
    /^-rwsr-xr-x\* 33\/5000000 +5 2023-11-14 22:13:20\.5 d\/f$/m,
    / d\/s -> \/abs$/m,
    / d\/h link to d\/f$/m,
    /^crw-r--r-- +0\/0 +1,3 .* d\/c$/m,
    /^brw-r--r-- +0\/0 +259,70000 .* d\/b$/m,
    /^prw-r--r-- .* d\/p$/m,
    / d\/\.wh\.gone$/m,
    / d\/\.wh\.\.wh\.\.opq$/m,
  ]) {
    assert.match(listing, part);
  }
  assert.ok(listing.includes(` ${long}\n`));
  // The record's length includes itself (pax(1)): two digits, a space, the name, `=`, three bytes and a newline.
  assert.ok(archive.includes(Buffer.from("27 SCHILY.xattr.user.x=\0\n\xff\n", "latin1")));
});

test("an image's manifest and config refer to their blobs, in both formats and all compressions", () => {
  const entries = [file("f", "x".repeat(2000))];
  const archive = tar(entries);
  const open = { none: (bytes: Buffer) => bytes, gzip: gunzipSync, zstd: zstdDecompressSync };
  for (const format of ["oci", "docker"] as const) {
    for (const compression of ["none", "gzip", "zstd"] as const) {
      const layer = makeLayer(entries, { compression, format });
      assert.deepEqual(open[compression](layer.bytes), archive);
      assert.equal(layer.diffId, digestOf(archive));
      const image = makeImage([layer], { format, config: { Cmd: ["x"] } });
      const manifest = JSON.parse(image.manifest.bytes.toString());
      assert.equal(manifest.mediaType, image.manifest.mediaType);
      assert.deepEqual(manifest.layers, [
        { mediaType: layer.mediaType, digest: digestOf(layer.bytes), size: layer.bytes.length },
      ]);
      assert.equal(manifest.config.digest, digestOf(image.config.bytes));
      assert.deepEqual(JSON.parse(image.config.bytes.toString()).rootfs.diff_ids, [layer.diffId]);
      const index = JSON.parse(makeIndex([image], format).manifest.bytes.toString());
      assert.deepEqual(index.manifests[0].platform, { architecture: "amd64", os: "linux" });
    }
  }
});

test("the busybox image has an applet, users and a sticky /tmp, and random images depend only on the seed", () => {
  const layer = busyboxImage().layers[0];
  const listing = execFileSync("tar", ["-tv"], { input: layer?.tar, encoding: "utf8" });
  assert.match(listing, /^hrwxr-xr-x .* bin\/sh link to bin\/busybox$/m);
  assert.match(listing, /^drwxrwxrwt .* tmp\/$/m);
  assert.match(listing, / etc\/passwd$/m);
  const digest = (seed: number) => randomImage({ layers: 2, files: 150, bytes: 300_001, seed }).manifest.digest;
  assert.equal(digest(1), digest(1));
  assert.notEqual(digest(1), digest(2));
  const names = execFileSync("tar", ["-tv"], {
    input: randomImage({ files: 150, bytes: 300_001 }).layers[0]?.tar,
    encoding: "utf8",
  });
  const sizes = names
    .split("\n")
    .filter((line) => line.startsWith("-"))
    .map((line) => Number(line.split(/\s+/)[2]));
  assert.equal(sizes.length, 150);
  assert.equal(
    sizes.reduce((a, b) => a + b),
    300_001,
  );
});
