import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Log, silentLog } from "@keelson/base/log.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { ImageStore } from "./image-store.ts";

/**
 * Records of images and layers that this build cannot read: nothing that belongs to them is removed, and a build that
 * can read them uses them again.
 */

const digest = (digit: string) => `sha256:${digit.repeat(64)}`;

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

/** A store with the images `x:1`, with layer 2 on layer 1, and `y:1`, with layer 3. */
class Fixture {
  readonly root = mkdtempSync(join(tmpdir(), "keelson-unreadable-"));
  readonly db = openDatabase(join(this.root, "state.db"));
  readonly lines: string[] = [];
  held: string | undefined;
  store!: ImageStore;

  static async make(t: TestContext): Promise<Fixture> {
    const all = new Fixture();
    t.after(async () => {
      await all.store.close();
      all.db.close();
      rmSync(all.root, { recursive: true });
    });
    await all.open();
    await all.addLayer("1");
    await all.addLayer("2", digest("1"));
    await all.addLayer("3");
    all.addImage("a", ["1", "2"], "docker.io/library/x:1");
    all.addImage("b", ["3"], "docker.io/library/y:1");
    await all.store.close();
    return all;
  }

  async open(): Promise<ImageStore> {
    const note = (_: object, text: string) => void this.lines.push(text);
    const log: Log = { ...silentLog, warn: note, error: note };
    const { root, db } = this;
    this.lines.length = 0;
    this.store = await ImageStore.open({ root, db, log, layersInUse: () => [], whyLayersAreHeld: () => this.held });
    return this.store;
  }

  async reopen(): Promise<ImageStore> {
    await this.store.close();
    return this.open();
  }

  async addLayer(name: string, parent?: string): Promise<void> {
    const id = digest(name);
    const temporary = await this.store.layers.makeTemporary();
    writeFileSync(join(temporary, "diff/file"), id);
    const sizes = { compressedBytes: 1, sizeBytes: 100, inodes: 2, isOpaque: false, manifestDigest: undefined };
    await this.store.layers.commit(temporary, { id, parent, diffId: id, digest: id, ...sizes });
  }

  addImage(name: string, layers: readonly string[], repoTag: string): void {
    const id = digest(name);
    const image = { id, manifestDigest: id, layers: layers.map(digest), pulledAtMs: Date.now(), config };
    this.store.add(image, { repoTag, repoDigest: `docker.io/library/z@${id}` });
  }

  rowOf(table: "images" | "layers", name: string): string {
    return String(this.db.prepare(`SELECT record FROM ${table} WHERE id = ?`).get(digest(name))!["record"]);
  }

  setRow(table: "images" | "layers", name: string, record: string): void {
    this.db.prepare(`UPDATE ${table} SET record = ? WHERE id = ?`).run(record, digest(name));
  }

  /** The names of layers' directories. */
  directories(): string[] {
    return readdirSync(join(this.root, "layers"))
      .filter((name) => name !== "empty")
      .sort();
  }

  tags(): string[] {
    return this.store.list().flatMap(({ repoTags }) => repoTags);
  }
}

const three = ["111111111111", "222222222222", "333333333333"];

/** JSON with one field that this build cannot read. */
const ofLaterBuild = (row: string, field: string) =>
  JSON.stringify({ ...(JSON.parse(row) as object), [field]: { new: 1 } });
/** Cut off so early that nothing can be read. */
const cut = (row: string) => row.slice(0, 3);

for (const [how, change] of [
  ["from a later build", (row: string) => ofLaterBuild(row, "sizeBytes")],
  ["cut off", cut],
] as const) {
  test(`an image whose record is ${how} counts as absent, but keeps its row and layers until it can be read again`, async (t) => {
    const all = await Fixture.make(t);
    const before = all.rowOf("images", "a");
    all.setRow("images", "a", change(before));
    const store = await all.open();
    assert.deepEqual(all.tags(), ["docker.io/library/y:1"]);
    assert.match(all.lines.join("\n"), /record of an image cannot be read: it is left unchanged/);
    store.collectGarbage();
    store.collectGarbage();
    assert.deepEqual(all.directories(), three);
    assert.equal(all.rowOf("images", "a"), change(before));
    assert.equal(all.lines.filter((line) => /no layers are removed/.test(line)).length, how === "cut off" ? 1 : 0);
    all.setRow("images", "a", before);
    await all.reopen();
    assert.deepEqual(all.tags(), ["docker.io/library/x:1", "docker.io/library/y:1"]);
  });

  test(`a layer whose record is ${how} keeps its row and files; its image is absent until it can be read again`, async (t) => {
    const all = await Fixture.make(t);
    const before = all.rowOf("layers", "2");
    all.setRow("layers", "2", change(before));
    const store = await all.open();
    assert.deepEqual(all.tags(), ["docker.io/library/y:1"]);
    assert.throws(() => store.lowerDirectories({ layers: [digest("2")] }), /its record cannot be read; pull the image/);
    store.collectGarbage();
    assert.deepEqual([all.directories(), all.rowOf("layers", "2")], [three, change(before)]);
    assert.doesNotMatch(all.rowOf("images", "a"), /brokenSinceMs/, "it has no time limit");
    all.setRow("layers", "2", before);
    await all.reopen();
    assert.deepEqual(all.tags(), ["docker.io/library/x:1", "docker.io/library/y:1"]);
  });

  test(`pulling an image again replaces a layer whose record is ${how}; its files are kept as long as the new layer`, async (t) => {
    const all = await Fixture.make(t);
    const row = change(all.rowOf("layers", "2"));
    all.setRow("layers", "2", row);
    await all.open();
    await all.addLayer("2", digest("1"));
    all.addImage("a", ["1", "2"], "docker.io/library/x:1");
    const [damaged] = all.db.prepare("SELECT source, id, record FROM damaged").all();
    assert.deepEqual([damaged!["source"], damaged!["id"], damaged!["record"]], ["layers", digest("2"), row]);
    for (const store of [all.store, await all.reopen()]) {
      assert.deepEqual(all.tags(), ["docker.io/library/x:1", "docker.io/library/y:1"]);
      assert.ok(store.lowerDirectories({ layers: [digest("2")] })[0]!.endsWith("2222222222222/diff"));
      assert.ok(existsSync(join(all.root, "layers/222222222222/diff/file")), "containers may use it");
    }
    all.store.remove("x:1");
    await all.store.close();
    assert.deepEqual(all.directories(), ["333333333333"]);
  });
}

test("an image that is pulled again replaces its unreadable record, which is set aside unchanged", async (t) => {
  const all = await Fixture.make(t);
  const row = ofLaterBuild(all.rowOf("images", "a"), "config");
  all.setRow("images", "a", row);
  await all.open();
  all.addImage("a", ["1", "2"], "docker.io/library/x:1");
  assert.equal(all.db.prepare("SELECT record FROM damaged").get()!["record"], row);
  await all.reopen();
  assert.deepEqual(all.tags(), ["docker.io/library/x:1", "docker.io/library/y:1"]);
});

test("an image whose record cannot be read can be removed by any of its names, with its layers", async (t) => {
  for (const name of ["x:1", digest("a"), "aaaaaaaa"]) {
    const all = await Fixture.make(t);
    all.setRow("images", "a", ofLaterBuild(all.rowOf("images", "a"), "config"));
    const store = await all.open();
    store.remove(name);
    await store.close();
    assert.deepEqual(all.directories(), ["333333333333"], name);
    assert.equal(all.db.prepare("SELECT id FROM images").all().length, 1);
  }
});

test("a tag that another image got meanwhile stays with it when the first image can be read again", async (t) => {
  const all = await Fixture.make(t);
  const before = all.rowOf("images", "a");
  all.setRow("images", "a", cut(before));
  await all.open();
  all.addImage("c", ["3"], "docker.io/library/x:1");
  all.setRow("images", "a", before.replace(/"pulledAtMs":\d+/, '"pulledAtMs":1'));
  const store = await all.reopen();
  assert.equal(store.find("x:1")?.id, digest("c"));
  assert.deepEqual(
    store
      .list()
      .map(({ repoTags }) => repoTags)
      .flat()
      .sort(),
    ["docker.io/library/x:1", "docker.io/library/y:1"],
  );
});

test("no layer is removed while the layers in use are not all known", async (t) => {
  const all = await Fixture.make(t);
  const store = await all.open();
  all.held = "a reason";
  store.remove("x:1");
  await store.close();
  assert.deepEqual(all.directories(), three);
  assert.match(all.lines.join("\n"), /no layers are removed for now: a reason/);
  all.held = undefined;
  store.collectGarbage();
  await store.close();
  assert.deepEqual(all.directories(), ["333333333333"]);
});

test("blobs of layers whose records cannot be read are kept", async (t) => {
  const all = await Fixture.make(t);
  all.setRow("layers", "2", cut(all.rowOf("layers", "2")));
  const blobs = join(all.root, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  writeFileSync(join(blobs, "2".repeat(64)), "blob");
  await all.open();
  assert.deepEqual(readdirSync(blobs), ["2".repeat(64)]);
});

test("additional fields of a later build are kept when a record is changed", async (t) => {
  const all = await Fixture.make(t);
  const later = (table: "images" | "layers", name: string) =>
    all.setRow(table, name, JSON.stringify({ ...(JSON.parse(all.rowOf(table, name)) as object), later: { a: [1] } }));
  later("images", "a");
  later("layers", "1");
  const store = await all.open();
  store.add(
    { ...store.find("x:1")! },
    { repoTag: "docker.io/library/w:1", repoDigest: `docker.io/library/w@${digest("a")}` },
  );
  store.layers.repaired(digest("1"), digest("f"));
  for (const row of [all.rowOf("images", "a"), all.rowOf("layers", "1")]) assert.match(row, /"later":\{"a":\[1\]\}/);
});
