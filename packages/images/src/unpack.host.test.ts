import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { Code } from "@keelson/base/status.ts";
import { lgetxattr, llistxattr, lsetxattr, mknod } from "@keelson/linux/file.ts";
import { unmount } from "@keelson/linux/mount.ts";
import { mountOverlay } from "@keelson/linux/overlay.ts";
import { warmThreadPool } from "@keelson/linux/pool.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { type Compression, makeImage, makeLayer } from "@keelson/testkit/image.ts";
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
import type { Images } from "./open-images.ts";
import { isStatus } from "./testing/pull-fixture.ts";
import { openTestImages } from "./testing/test-images.ts";

/** Unpacks layers for real: as root, on worker threads, from a registry in this process. */

await warmThreadPool();

interface Fixture {
  root: string;
  images: Images;
  /** Pulls an image with these layers, lowest first, and returns their directories, uppermost first. */
  unpack: (...layers: (readonly TarEntry[] | Buffer)[]) => Promise<string[]>;
}

async function fixture(t: TestContext, compression: Compression = "gzip"): Promise<Fixture> {
  const root = fs.mkdtempSync(join(tmpdir(), "keelson-unpack-"));
  const registry = await Registry.start();
  const db = openDatabase(join(root, "state.db"));
  const images = await openTestImages({ root, db, log: silentLog, layersInUse: () => [] });
  t.after(async () => {
    await images[Symbol.asyncDispose]();
    db.close();
    await registry[Symbol.asyncDispose]();
    fs.rmSync(root, { recursive: true });
  });
  let sequence = 0;
  const unpack = async (...layers: (readonly TarEntry[] | Buffer)[]) => {
    const reference = registry.add(
      "test",
      `v${(sequence += 1)}`,
      makeImage(layers.map((layer) => makeLayer(layer, { compression }))),
    );
    const image = await images.puller.pull({ reference, signal: AbortSignal.timeout(60_000) });
    return images.store.lowerDirectories(image);
  };
  return { root, images, unpack };
}

/** Everything about a tree except change times and inode numbers. */
function describeTree(top: string): Record<string, object> {
  const found: Record<string, object> = {};
  const inodes = new Map<bigint, string>();
  const visit = (path: string) => {
    const at = Buffer.concat([Buffer.from(top), Buffer.from(path, "latin1")]);
    const stat = fs.lstatSync(at, { bigint: true });
    const first = inodes.get(stat.ino);
    inodes.set(stat.ino, first ?? path);
    found[path] = {
      mode: stat.mode.toString(8),
      owner: `${stat.uid}:${stat.gid}`,
      mtimeNs: stat.mtimeNs,
      device: stat.isCharacterDevice() || stat.isBlockDevice() ? stat.rdev : 0n,
      sameAs: stat.isDirectory() ? undefined : first,
      xattrs: Object.fromEntries(
        llistxattr(at)
          .sort()
          .map((name) => [name, lgetxattr(at, name)?.toString("hex")]),
      ),
      content: stat.isSymbolicLink()
        ? fs.readlinkSync(at, "latin1")
        : stat.isFile()
          ? createHash("sha256").update(fs.readFileSync(at)).digest("hex")
          : "",
    };
    if (stat.isDirectory()) for (const name of fs.readdirSync(at, "latin1").sort()) visit(`${path}/${name}`);
  };
  visit("");
  return found;
}

for (const compression of ["gzip", "zstd", "none"] as const) {
  test(`a tree is unpacked as by GNU tar (${compression})`, async (t) => {
    const { root, unpack } = await fixture(t, compression);
    const source = join(root, "source");
    fs.mkdirSync(join(source, "d/setgid"), { recursive: true });
    fs.chmodSync(join(source, "d/setgid"), 0o2775);
    fs.chownSync(join(source, "d/setgid"), 0, 1234);
    fs.writeFileSync(join(source, "d/setgid/inside"), "not of group 1234");
    fs.writeFileSync(join(source, "suid"), "x".repeat(100_000));
    fs.chownSync(join(source, "suid"), 1000, 1000);
    fs.chmodSync(join(source, "suid"), 0o6755);
    fs.linkSync(join(source, "suid"), join(source, "zz-hard"));
    fs.writeFileSync(join(source, "cap"), "");
    fs.chmodSync(join(source, "cap"), 0o602);
    lsetxattr(
      join(source, "cap"),
      "security.capability",
      Buffer.from("0100000200040000000000000000000000000000", "hex"),
    );
    fs.symlinkSync("/absolute/../x", join(source, "link"));
    fs.lchownSync(join(source, "link"), 7, 8);
    mknod(join(source, "null"), 0o020666, 1, 3);
    mknod(join(source, "fifo"), 0o010640);
    fs.writeFileSync(
      Buffer.concat([Buffer.from(`${source}/`), Buffer.from([0x66, 0xff, 0xfe])]),
      "a name that is not UTF-8",
    );
    fs.writeFileSync(join(source, "n".repeat(200)), "long");
    fs.mkdirSync(join(source, "readonly"));
    fs.writeFileSync(join(source, "readonly/f"), "f");
    fs.chmodSync(join(source, "readonly"), 0o555);
    fs.utimesSync(join(source, "readonly"), 1, 1.5);
    fs.utimesSync(join(source, "suid"), 1000, -1000);
    const archive = execFileSync(
      "tar",
      ["-C", source, "--format=posix", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-c", "."],
      { maxBuffer: 1 << 26 },
    );
    fs.writeFileSync(join(root, "archive.tar"), archive);
    fs.mkdirSync(join(root, "expected"));
    execFileSync("tar", [
      "-C",
      join(root, "expected"),
      "--xattrs",
      "--xattrs-include=*",
      "--numeric-owner",
      "--same-owner",
      "-p",
      "-xf",
      join(root, "archive.tar"),
    ]);
    const [layer] = await unpack(archive);
    assert.deepEqual(describeTree(layer as string), describeTree(join(root, "expected")));
  });
}

test("real files of this machine are unpacked as by GNU tar", async (t) => {
  const { root, unpack } = await fixture(t);
  const archive = execFileSync("tar", ["-C", "/", "--numeric-owner", "-c", "etc", "bin", "-C", "/usr/share", "perl5"], {
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "ignore"],
  });
  fs.writeFileSync(join(root, "archive.tar"), archive);
  fs.mkdirSync(join(root, "expected"));
  execFileSync("tar", [
    "-C",
    join(root, "expected"),
    "--numeric-owner",
    "--same-owner",
    "-p",
    "-xf",
    join(root, "archive.tar"),
  ]);
  const [layer] = await unpack(archive);
  const { "": _top, ...found } = describeTree(layer as string);
  const { "": _expectedTop, ...expected } = describeTree(join(root, "expected"));
  assert.ok(Object.keys(found).length > 500);
  assert.deepEqual(found, expected);
});

test("whiteouts and opaque directories hide what they should in an overlay mount", async (t) => {
  const { root, unpack } = await fixture(t);
  const lower = await unpack(
    [
      directory("keep/"),
      file("keep/a", "a"),
      file("gone", "g"),
      directory("gonedir/"),
      file("gonedir/x", "x"),
      directory("opaque/"),
      file("opaque/old", "o"),
      directory("again/"),
      file("again/old", "o"),
      directory("both/"),
      file("both/old", "o"),
      directory("implicit/"),
      file("implicit/old", "o"),
    ],
    [
      whiteout("gone"),
      whiteout("gonedir"),
      directory("opaque/"),
      file("opaque/new", "n"),
      opaqueWhiteout("opaque"),
      whiteout("again"),
      directory("again/"),
      file("again/new", "n"),
      directory("both/"),
      file("both/new", "n"),
      whiteout("both"),
      whiteout("keep/a"),
      file("keep/b", "b"),
      whiteout("implicit"),
      file("implicit/new", "n"),
      file(".wh..wh.plnk", ""),
      whiteout("keep/nothing"),
    ],
  );
  const target = join(root, "mounted");
  fs.mkdirSync(target);
  mountOverlay({ lowerDirs: lower, target });
  using _ = { [Symbol.dispose]: () => unmount(target) };
  const names = (dir: string) => fs.readdirSync(join(target, dir)).sort();
  assert.deepEqual(names(""), ["again", "both", "implicit", "keep", "opaque"]);
  assert.deepEqual(
    [names("again"), names("both"), names("keep"), names("opaque"), names("implicit")],
    [["new"], ["new"], ["b"], ["new"], ["new"]],
  );
});

test("an opaque layer hides everything below it", async (t) => {
  const { unpack } = await fixture(t);
  const lower = await unpack([file("old", "o")], [file(".wh..wh..opq", ""), file("new", "n")], [file("more", "m")]);
  assert.equal(lower.length, 2);
  assert.deepEqual(
    lower.map((dir) => fs.readdirSync(dir)),
    [["more"], ["new"]],
  );
});

test("directories without an entry get the attributes that they have in the layers below", async (t) => {
  const { unpack } = await fixture(t);
  const time = { mtimeSeconds: 1_600_000_000 };
  const [top] = (await unpack(
    [
      directory("./", { mode: 0o711 }),
      directory("tmp/", { mode: 0o1777, ...time }),
      directory("tmp/a/", { mode: 0o750, uid: 5, gid: 6, xattrs: { "user.k": "v" }, ...time }),
      directory("hidden/", { mode: 0o700 }),
      symlink("link", "/tmp"),
      directory("opq/", { mode: 0o755 }),
      directory("opq/in/", { mode: 0o700 }),
    ],
    [whiteout("hidden"), directory("opq/"), opaqueWhiteout("opq")],
    [file("tmp/a/f", "f"), file("tmp/new/f", "f"), file("hidden/f", "f"), file("link/f", "f"), file("opq/in/f", "f")],
  )) as [string];
  const at = (path: string) => fs.lstatSync(join(top, path));
  assert.equal(at(".").mode & 0o7777, 0o711);
  assert.deepEqual([at("tmp").mode & 0o7777, at("tmp").mtimeMs], [0o1777, 1_600_000_000_000]);
  assert.deepEqual(
    [at("tmp/a").mode & 0o7777, at("tmp/a").uid, at("tmp/a").gid, lgetxattr(join(top, "tmp/a"), "user.k")?.toString()],
    [0o750, 5, 6, "v"],
  );
  assert.deepEqual(
    [at("tmp/new").mode & 0o7777, at("hidden").mode & 0o7777, at("link").mode & 0o7777, at("opq/in").mode & 0o7777],
    [0o755, 0o755, 0o755, 0o755],
  );
});

test("a later entry replaces an earlier one of any kind, also of the same kind", async (t) => {
  const { unpack } = await fixture(t);
  const makers: ((name: string) => TarEntry)[] = [
    (name) => file(name, "content"),
    (name) => directory(`${name}/`),
    (name) => symlink(name, "target"),
    (name) => device(name, "character-device", 1, 3),
    (name) => fifo(name),
    (name) => hardLink(name, "origin"),
    (name) => whiteout(name),
  ];
  const entries = [file("origin", "o")];
  makers.forEach((first, i) =>
    makers.forEach((second, j) =>
      entries.push(
        first(`e${i}${j}`),
        ...(i === 1 ? [file(`e${i}${j}/in`, "x"), directory(`e${i}${j}/sub/`)] : []),
        second(`e${i}${j}`),
      ),
    ),
  );
  const [layer] = (await unpack(entries)) as [string];
  const kind = (name: string) => {
    const stat = fs.lstatSync(join(layer, name));
    return stat.isFile()
      ? "file"
      : stat.isDirectory()
        ? "directory"
        : stat.isSymbolicLink()
          ? "symlink"
          : stat.isFIFO()
            ? "fifo"
            : "device";
  };
  const expected = ["file", "directory", "symlink", "device", "fifo", "file"];
  for (let i = 0; i < makers.length; i += 1)
    for (let j = 0; j < expected.length; j += 1) assert.equal(kind(`e${i}${j}`), expected[j], `e${i}${j}`);
});

test("no entry changes anything outside of its layer", async (t) => {
  const { root, images, unpack } = await fixture(t);
  const outside = join(root, "outside");
  fs.mkdirSync(outside);
  fs.writeFileSync(join(outside, "file"), "untouched");
  const before = describeTree(outside);
  const up = "../".repeat(30);
  // Links are followed inside the layer, as in a chroot.
  for (const [link, target] of [
    [outside, outside],
    [`${up}${outside.slice(1)}`, outside],
    ["/", "/"],
    ["/proc/self/root", "/proc/self/root"],
    ["..", "/"],
  ] as const) {
    const [layer] = (await unpack([
      symlink("l", link),
      file("l/file", "written"),
      file("l/new", "new"),
      whiteout("l/file2"),
      directory("l/d/", { mode: 0o700 }),
    ])) as [string];
    assert.equal(fs.readFileSync(join(layer, target, "new"), "utf8"), "new", link);
    assert.equal(fs.statSync(join(layer, target, "d")).mode & 0o777, 0o700, link);
  }
  const [absolute] = (await unpack([
    file(join(outside, "file"), "inside"),
    file("//x", "x"),
    file("./././y", "y"),
  ])) as [string];
  assert.equal(fs.readFileSync(join(absolute, outside, "file"), "utf8"), "inside");
  assert.ok(fs.existsSync(join(absolute, "x")) && fs.existsSync(join(absolute, "y")));
  const layers = [...images.store.layers.all()].length;
  for (const entries of [
    [file("../escape", "x")],
    [file("a/../../escape", "x")],
    [directory("..")],
    [file(".wh...", "x")],
    [file("a/.wh..", "x")],
    [hardLink("h", join("..", "..", "outside/file"))],
    [hardLink("h", join(outside, "file"))],
    [symlink("s", join(outside, "file")), hardLink("h", "s/../file")],
    [hardLink("h", "/etc/passwd")],
    [symlink("s", outside), hardLink("h", "s/file")],
    [file("f", "x"), file("f/below", "x")],
    [symlink("a", "b"), symlink("b", "a"), file("a/x", "x")],
    [file("n".repeat(300), "x")],
    [file("d/".repeat(3000), "x")],
  ] as TarEntry[][]) {
    await assert.rejects(
      unpack(entries),
      isStatus(Code.InvalidArgument, /tar entry/),
      JSON.stringify(entries.map((e) => e.path.slice(0, 50))),
    );
  }
  // A hard link to a symlink is a link to the symlink itself, not to its target.
  const [linked] = (await unpack([symlink("s", join(outside, "file")), hardLink("h", "s"), file("h", "replaced")])) as [
    string,
  ];
  assert.equal(fs.readFileSync(join(linked, "h"), "utf8"), "replaced");
  assert.deepEqual(describeTree(outside), before);
  assert.equal([...images.store.layers.all()].length, layers + 1);
});

test("xattrs that belong to the host are not taken from an image", async (t) => {
  const { unpack } = await fixture(t);
  const xattrs = {
    "trusted.overlay.redirect": "/x",
    "trusted.overlay.opaque": "y",
    "user.overlay.opaque": "y",
    "trusted.other": "z",
    "user.fine": "v",
  };
  const [layer] = (await unpack([directory("d/", { xattrs }), file("f", "f", { xattrs })])) as [string];
  assert.deepEqual([llistxattr(join(layer, "d")), llistxattr(join(layer, "f"))], [["user.fine"], ["user.fine"]]);
});

test("an archive that is truncated, or not one at all, results in an error and leaves nothing behind", async (t) => {
  const { root, unpack } = await fixture(t);
  const whole = makeLayer([file("a", Buffer.alloc(5000, "a")), file("b", "b")], { compression: "none" }).tar;
  await assert.rejects(unpack(whole.subarray(0, 3000)), isStatus(Code.DataLoss, /cut short/));
  await assert.rejects(
    unpack(Buffer.from("no tar archive at all ".repeat(100))),
    isStatus(Code.DataLoss, /not a tar archive/),
  );
  assert.deepEqual(fs.readdirSync(join(root, "layers")), ["empty"]);
});
