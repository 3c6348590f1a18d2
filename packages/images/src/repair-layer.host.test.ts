import assert from "node:assert/strict";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { lgetxattr, llistxattr, lsetxattr, mknod } from "@keelson/linux/file.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { makeImage, makeLayer } from "@keelson/testkit/image.ts";
import { Registry } from "@keelson/testkit/registry.ts";
import {
  device,
  directory,
  fifo,
  file,
  hardLink,
  opaqueWhiteout,
  symlink,
  type TarEntry,
  whiteout,
} from "@keelson/testkit/tar.ts";
import { compareLayer } from "./compare-layer.ts";
import { manifestDigestOf, parseManifestLines } from "./layer-manifest.ts";
import type { Images } from "./open-images.ts";
import type { LayerRecord } from "./record.ts";
import { openTestImages } from "./testing/test-images.ts";
import { walkTree } from "./tree-walk.ts";

/**
 * Layers are unpacked for real, compared with the manifests that were written with them, and repaired by pulling again.
 */

await warmThreadPool();

interface Fixture {
  images: Images;
  registry: Registry;
  reference: string;
  /** Lowest first. */
  layers: LayerRecord[];
  pull: () => Promise<void>;
}

async function pulled(t: TestContext, ...layers: TarEntry[][]): Promise<Fixture> {
  const root = fs.mkdtempSync(join(tmpdir(), "keelson-repair-"));
  const registry = await Registry.start();
  const db = openDatabase(join(root, "state.db"));
  const images = await openTestImages({ root, db, log: silentLog, layersInUse: () => [] });
  t.after(async () => {
    await images[Symbol.asyncDispose]();
    db.close();
    await registry[Symbol.asyncDispose]();
    fs.rmSync(root, { recursive: true });
  });
  const reference = registry.add("test", "v1", makeImage(layers.map((layer) => makeLayer(layer))));
  const pull = async () => void (await images.puller.pull({ reference, signal: AbortSignal.timeout(60_000) }));
  await pull();
  return {
    images,
    registry,
    reference,
    pull,
    layers: images.store.find(reference)!.layers.map((id) => images.store.layers.get(id)!),
  };
}

function differences({ images }: Fixture, layer: LayerRecord): string[] {
  const text = fs.readFileSync(join(images.store.layers.directoryOf(layer), "manifest"));
  assert.equal(manifestDigestOf(text), images.store.layers.get(layer.id)!.manifestDigest);
  return [...compareLayer(images.store.layers.diffDirectory(layer), parseManifestLines(text.toString("latin1")))].map(
    ({ path, is, detail }) => `${is} ${path} ${detail}`,
  );
}

const cases: Record<string, TarEntry[][]> = {
  "plain files": [[directory("a/"), file("a/b", "x"), file("c", "")]],
  "files that are replaced, even by links and directories": [
    [
      file("a", "1"),
      file("a", "2"),
      file("b", "1"),
      hardLink("b", "a"),
      file("c", "x"),
      directory("c/"),
      file("c/d", "y"),
      directory("e/"),
      file("e/f", "z"),
      file("e", "now a file"),
    ],
  ],
  "names that go through a symlink in the layer": [
    [
      directory("usr/"),
      directory("usr/lib/"),
      file("usr/lib/x", "first"),
      symlink("lib", "usr/lib"),
      file("lib/x", "second"),
      file("lib/y", "y"),
      hardLink("z", "lib/y"),
    ],
  ],
  "the same file, by its own name and through a symlink": [
    [
      directory("real/"),
      symlink("alias", "real"),
      file("alias/x", "one"),
      file("real/x", "two"),
      file("alias/x", "three"),
      directory("other/"),
      file("other/x", "four"),
    ],
  ],
  "hard links to files that are replaced later": [[file("a", "1"), hardLink("b", "a"), file("a", "22")]],
  "whiteouts, opaque directories and implicit ones": [
    [
      directory("tmp/", { mode: 0o1777 }),
      directory("home/", { mode: 0o700, uid: 5 }),
      file("home/old", "x"),
      file("gone", "x"),
    ],
    [file("tmp/x", "x"), whiteout("gone"), opaqueWhiteout("home"), file("home/new", "y")],
  ],
  "directories made through absolute links, whose targets this machine has, too": [
    [file("usr/lib/old", "x")],
    [
      symlink("system", "/usr"),
      file("system/lib/new", "x"),
      symlink("settings", "/etc"),
      file("settings/x", "x"),
      symlink("deep", "/var"),
      file("deep/lib/dpkg/x", "x"),
    ],
  ],
  "devices, pipes, owners, modes and xattrs": [
    [
      device("null", "character-device", 1, 3),
      fifo("pipe"),
      file("su", "s", { mode: 0o4755, uid: 7, gid: 8 }),
      file("cap", "c", {
        xattrs: {
          "user.x": Buffer.from("1"),
          "security.capability": Buffer.from("AQAAAgAgAAAAAAAAAAAAAAAAAAA=", "base64"),
        },
      }),
    ],
  ],
  "names with spaces and outside ASCII": [
    [directory("d\xe9/"), file("d\xe9/\xff", "x"), file("with space\tand %41", "y")],
  ],
};

for (const [name, layers] of Object.entries(cases)) {
  test(`the manifest matches what is on disk: ${name}`, async (t) => {
    const fixture = await pulled(t, ...layers);
    for (const layer of fixture.layers) assert.deepEqual(differences(fixture, layer), []);
  });
}

/** Everything about a tree, including the times of directories and files. */
function describeTree(top: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { path, at, stat } of walkTree(top)) {
    const { mode, uid, gid, size, mtimeMs, rdev } = stat;
    const content = stat.isFile()
      ? fs.readFileSync(at, "latin1")
      : stat.isSymbolicLink()
        ? fs.readlinkSync(at, "latin1")
        : "";
    const xattrs = llistxattr(at)
      .sort()
      .map((key) => `${key}=${lgetxattr(at, key)?.toString("hex")}`);
    // A whiteout has the time at which it was made.
    const time = rdev === 0 && stat.isCharacterDevice() ? 0 : mtimeMs;
    found[path] = JSON.stringify([mode, uid, gid, stat.isDirectory() ? 0 : size, time, rdev, content, xattrs]);
  }
  return found;
}

const content: TarEntry[] = [
  directory("etc/", { mode: 0o750 }),
  file("etc/a", "aaaa"),
  file("etc/b", "bbbb", { mode: 0o4755, uid: 3, xattrs: { "user.k": Buffer.from("v") } }),
  directory("etc/deep/"),
  directory("etc/deep/er/", { mode: 0o700 }),
  file("etc/deep/er/c", "cc"),
  symlink("etc/link", "a"),
  device("etc/null", "character-device", 1, 3),
  whiteout("etc/lower"),
];

const damage: Record<string, (top: string) => void> = {
  "bytes, modes, owners and xattrs": (top) => {
    fs.writeFileSync(join(top, "etc/a"), "aaab");
    fs.chmodSync(join(top, "etc/deep/er"), 0o777);
    fs.chownSync(join(top, "etc/b"), 9, 9);
    lsetxattr(join(top, "etc/deep"), "user.new", Buffer.from("x"));
    fs.chownSync(top, 1, 1);
  },
  "missing files and directories": (top) => {
    fs.rmSync(join(top, "etc/deep"), { recursive: true });
    fs.rmSync(join(top, "etc/link"));
    fs.rmSync(join(top, "etc/lower"));
  },
  "all of it missing": (top) => fs.rmSync(top, { recursive: true }),
  "additional files and directories": (top) => {
    fs.mkdirSync(join(top, "etc/deep/more/and"), { recursive: true });
    fs.writeFileSync(join(top, "etc/more"), "");
    mknod(join(top, "etc/a.hidden"), fs.constants.S_IFCHR, 0, 0);
  },
  "files of the wrong kind": (top) => {
    fs.rmSync(join(top, "etc/deep"), { recursive: true });
    fs.writeFileSync(join(top, "etc/deep"), "a file");
    fs.rmSync(join(top, "etc/a"));
    fs.mkdirSync(join(top, "etc/a/b"), { recursive: true });
    fs.rmSync(join(top, "etc/null"));
    fs.symlinkSync("/etc", join(top, "etc/null"));
  },
  "a directory replaced by a link out of the layer": (top) => {
    fs.renameSync(join(top, "etc/deep"), join(top, "moved"));
    fs.symlinkSync("/", join(top, "etc/deep"));
  },
};

for (const [name, cause] of Object.entries(damage)) {
  test(`a layer is repaired in place, and nothing else is fetched: ${name}`, async (t) => {
    const fixture = await pulled(t, [directory("etc/"), file("etc/lower", "l")], content, [file("top", "t")]);
    const { images, registry, reference, pull } = fixture;
    const layer = fixture.layers[1]!;
    const top = images.store.layers.diffDirectory(layer);
    const before = describeTree(top);
    const inode = fs.statSync(join(top, "etc/b")).ino;
    cause(top);
    fs.writeFileSync(join(images.store.layers.directoryOf(layer), "damaged"), "");
    registry.requests.length = 0;
    await pull();
    assert.deepEqual(describeTree(top), before);
    const blobs = registry.requests.filter(
      ({ method, path }) => method === "GET" && fixture.layers.some(({ digest }) => path.includes(digest)),
    );
    assert.deepEqual(
      blobs.map(({ path }) => path.slice(path.lastIndexOf("/") + 1)),
      [layer.digest],
    );
    assert.deepEqual(
      [fs.existsSync(join(top, "../damaged")), images.store.find(reference) !== undefined],
      [false, true],
    );
    if (name === "additional files and directories")
      assert.equal(fs.statSync(join(top, "etc/b")).ino, inode, "intact files are not touched");
    assert.deepEqual(
      fs.readdirSync(join(top, "../..")).filter((each) => each.startsWith(".")),
      [],
    );
  });
}
