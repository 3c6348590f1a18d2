import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { type Log, silentLog } from "@keelson/base/log.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { imageFsUsage } from "./image-fs-usage.ts";
import { ImageStore } from "./image-store.ts";

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const config = {
  os: "linux",
  architecture: "amd64",
  variant: "",
  created: "",
  user: "",
  env: [],
  entrypoint: [],
  cmd: [],
  workingDir: "",
  stopSignal: "",
  labels: {},
  volumes: [],
  exposedPorts: [],
  diffIds: [],
};

interface Fixture {
  root: string;
  inUse: Set<string>;
  open: (log?: Log) => Promise<ImageStore>;
  /** Changes records behind the store's back. */
  sql: (statement: string) => void;
}

function fixture(t: TestContext): Fixture {
  const root = mkdtempSync(join(tmpdir(), "keelson-store-"));
  const inUse = new Set<string>();
  const closing: (() => unknown)[] = [];
  let current: DatabaseSync | undefined;
  t.after(async () => {
    for (const close of closing) await close();
    rmSync(root, { recursive: true });
  });
  const open = async (log = silentLog) => {
    for (const close of closing.splice(0)) await close();
    const db = openDatabase(join(root, "state.db"));
    current = db;
    const store = await ImageStore.open({ root, db, log, layersInUse: () => inUse });
    closing.push(() => store.close().then(() => db.close()));
    return store;
  };
  return { root, inUse, open, sql: (statement) => current?.exec(statement) };
}

async function addLayer(store: ImageStore, id: string, parent?: string): Promise<void> {
  const temporary = await store.layers.makeTemporary();
  writeFileSync(join(temporary, "diff/file"), id);
  await store.layers.commit(temporary, {
    id,
    parent,
    diffId: id,
    digest: id,
    compressedBytes: 1,
    sizeBytes: 100,
    inodes: 2,
    isOpaque: false,
    manifestDigest: undefined,
  });
}

function addImage(
  store: ImageStore,
  id: string,
  layers: string[],
  repoTag: string | undefined,
  repoDigest = `docker.io/library/x@${id}`,
): void {
  store.add({ id, manifestDigest: id, layers, pulledAtMs: 1, config }, { repoTag, repoDigest });
}

test("an image is found by id, short id, tag and digest, in all their forms", async (t) => {
  const store = await fixture(t).open();
  addImage(store, digest("a"), [], "docker.io/library/x:latest");
  addImage(store, digest("b"), [], "quay.io/y:v1", `quay.io/y@${digest("c")}`);
  for (const name of [
    digest("a"),
    "a".repeat(64),
    "aaaaaaa",
    "sha256:aaaa",
    "x",
    "x:latest",
    "docker.io/x",
    `x@${digest("a")}`,
    `x:ignored@${digest("a")}`,
  ]) {
    assert.equal(store.find(name)?.id, digest("a"), name);
  }
  for (const name of [
    "",
    "y",
    "x:v2",
    "quay.io/x",
    `quay.io/x@${digest("a")}`,
    "aaab",
    "!!",
    digest("c"),
    "A".repeat(64),
  ])
    assert.equal(store.find(name), undefined, name);
  assert.equal(store.find(`quay.io/y@${digest("c")}`)?.id, digest("b"));
});

test("the same content under several names is one image; a tag that moves is removed from the old image", async (t) => {
  const store = await fixture(t).open();
  addImage(store, digest("a"), [], "docker.io/library/x:1");
  addImage(store, digest("a"), [], "docker.io/library/x:latest");
  addImage(store, digest("a"), [], "k8s.gcr.io/x:1", `k8s.gcr.io/x@${digest("a")}`);
  assert.equal(store.list().length, 1);
  assert.deepEqual(store.list()[0]?.repoTags, [
    "docker.io/library/x:1",
    "docker.io/library/x:latest",
    "k8s.gcr.io/x:1",
  ]);
  assert.equal(store.list()[0]?.repoDigests.length, 2);
  const before = store.list();
  addImage(store, digest("b"), [], "docker.io/library/x:latest");
  assert.deepEqual(store.find(digest("a"))?.repoTags, ["docker.io/library/x:1", "k8s.gcr.io/x:1"]);
  assert.equal(store.find("x")?.id, digest("b"));
  assert.equal(before.length, 1, "a list that was returned earlier does not change");
});

test("an image that was pulled by digest has a digest and no tag", async (t) => {
  const store = await fixture(t).open();
  addImage(store, digest("a"), [], undefined);
  assert.deepEqual(
    [store.list()[0]?.repoTags, store.list()[0]?.repoDigests],
    [[], [`docker.io/library/x@${digest("a")}`]],
  );
});

test("removing an image by one name removes all of its names, and may be repeated; layers of other images are kept", async (t) => {
  const { open, root } = fixture(t);
  const store = await open();
  await addLayer(store, digest("1"));
  await addLayer(store, digest("2"), digest("1"));
  await addLayer(store, digest("3"), digest("1"));
  addImage(store, digest("a"), [digest("1"), digest("2")], "docker.io/library/x:1");
  addImage(store, digest("a"), [digest("1"), digest("2")], "docker.io/library/x:2");
  addImage(store, digest("b"), [digest("1"), digest("3")], "docker.io/library/y:1");
  assert.deepEqual(imageFsUsage(store), { mountpoint: join(root, "layers"), usedBytes: 300, inodesUsed: 6 });
  assert.deepEqual(store.lowerDirectories({ layers: [digest("1"), digest("2")] }), [
    join(root, "layers/222222222222/diff"),
    join(root, "layers/111111111111/diff"),
  ]);
  store.remove("x:2");
  store.remove("x:2");
  assert.equal(store.find("x:1"), undefined);
  await store.close();
  assert.deepEqual(readdirSync(join(root, "layers")).sort(), ["111111111111", "333333333333", "empty"]);
  assert.equal(imageFsUsage(store).usedBytes, 200);
});

test("a kept compressed layer is removed with the last layer that was made from it", async (t) => {
  const { open, root } = fixture(t);
  const store = await open();
  const blob = join(root, "blobs/sha256", "1".repeat(64));
  mkdirSync(join(root, "blobs/sha256"), { recursive: true });
  writeFileSync(blob, "");
  await addLayer(store, digest("1"));
  await addLayer(store, digest("2"), digest("1"));
  addImage(store, digest("a"), [digest("1")], "docker.io/library/x:1");
  store.collectGarbage();
  assert.ok(existsSync(blob));
  store.remove("x:1");
  assert.ok(!existsSync(blob));
});

test("layers that a container or a pull needs outlive their image", async (t) => {
  const { open, inUse } = fixture(t);
  const store = await open();
  await addLayer(store, digest("1"));
  await addLayer(store, digest("2"), digest("1"));
  addImage(store, digest("a"), [digest("1"), digest("2")], "docker.io/library/x:1");
  inUse.add(digest("2"));
  const pin = store.pin([digest("1")]);
  store.remove("x:1");
  assert.equal([...store.layers.all()].length, 2);
  inUse.clear();
  store.collectGarbage();
  assert.deepEqual(
    [...store.layers.all()].map((l) => l.id),
    [digest("1")],
  );
  pin[Symbol.dispose]();
  store.collectGarbage();
  assert.deepEqual([...store.layers.all()], []);
  assert.throws(
    () => store.lowerDirectories({ layers: [digest("1")] }),
    (error) => error instanceof StatusError && error.code === Code.FailedPrecondition,
  );
});

test("a start finds the images and layers, and removes the remains of a crash", async (t) => {
  const { open, root } = fixture(t);
  const first = await open();
  await addLayer(first, digest("1"));
  addImage(first, digest("a"), [digest("1")], "docker.io/library/x:1");
  await first.layers.makeTemporary();
  mkdirSync(join(root, "layers/deadbeef0000/diff"), { recursive: true });
  const second = await open();
  assert.deepEqual(second.list(), first.list());
  assert.equal(second.layers.usage.bytes, 100);
  await second.close();
  assert.deepEqual(readdirSync(join(root, "layers")).sort(), ["111111111111", "empty"]);
});

test("an image counts as absent when a layer is missing or was not synced before a power failure; the others are kept", async (t) => {
  const { open, root, sql } = fixture(t);
  const first = await open();
  for (const name of ["1", "2"]) await addLayer(first, digest(name));
  await addLayer(first, digest("4"), digest("1"));
  addImage(first, digest("a"), [digest("1"), digest("4")], "docker.io/library/x:1");
  addImage(first, digest("b"), [digest("2")], "docker.io/library/x:2");
  await first.close();
  rmSync(join(root, "layers/111111111111"), { recursive: true });
  sql(
    `UPDATE layers SET record = json_set(record, '$.isDurable', json('false'), '$.bootId', 'another') WHERE id = '${digest("2")}'`,
  );
  const lines: string[] = [];
  const store = await open({
    ...silentLog,
    warn: (fields, message) => void lines.push(`${message} ${JSON.stringify(fields)}`),
  });
  assert.deepEqual(store.list(), []);
  assert.equal(lines.filter((line) => line.startsWith("an image lacks layers")).length, 2, lines.join("\n"));
  assert.match(lines.join("\n"), /the machine stopped before it was on the disk/);
  store.collectGarbage();
  assert.deepEqual(
    [...store.layers.all()].map((layer) => layer.id),
    [digest("4")],
    "the next pull of x:1 need not fetch this one",
  );
  sql(`UPDATE images SET record = json_set(record, '$.brokenSinceMs', 1)`);
  const later = await open();
  later.collectGarbage();
  assert.deepEqual([...later.layers.all()], [], "nobody has pulled it again");
});

test("a layer that is marked as damaged, even while the store is open, hides its images until it is repaired", async (t) => {
  const { open, root } = fixture(t);
  const store = await open();
  await addLayer(store, digest("1"));
  addImage(store, digest("a"), [digest("1")], "docker.io/library/x:1");
  addImage(store, digest("b"), [digest("1")], "docker.io/library/y:1");
  const image = store.find("x:1")!;
  assert.ok(store.isStillWhole(image));
  writeFileSync(join(root, "layers/111111111111/damaged"), "");
  assert.ok(!store.isStillWhole(image));
  assert.deepEqual([store.list(), store.find("y:1")], [[], undefined]);
  assert.throws(() => store.lowerDirectories(image), /is damaged; pull the image again/);
  rmSync(join(root, "layers/111111111111/damaged"));
  store.layers.repaired(digest("1"), digest("f"));
  addImage(store, digest("a"), [digest("1")], "docker.io/library/x:1");
  assert.deepEqual(
    store.list().map(({ repoTags }) => repoTags),
    [["docker.io/library/x:1"], ["docker.io/library/y:1"]],
  );
  assert.deepEqual((await open()).list(), store.list());
});

test("an image that lacks layers can be removed", async (t) => {
  const { open, root } = fixture(t);
  const first = await open();
  await addLayer(first, digest("1"));
  addImage(first, digest("a"), [digest("1")], "docker.io/library/x:1");
  await first.close();
  writeFileSync(join(root, "layers/111111111111/damaged"), "");
  const store = await open();
  assert.equal(store.find("x:1"), undefined);
  store.remove("x:1");
  assert.deepEqual([...store.layers.all()], []);
});

test("layers are durable after a sync", async (t) => {
  const store = await fixture(t).open();
  await addLayer(store, digest("1"));
  assert.equal(store.layers.get(digest("1"))?.isDurable, false);
  addImage(store, digest("a"), [digest("1")], "docker.io/library/x:1");
  await store.close();
  assert.equal(store.layers.get(digest("1"))?.isDurable, true);
});
