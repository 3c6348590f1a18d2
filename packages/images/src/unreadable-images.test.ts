import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { type Log, silentLog } from "@keelson/base/log.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { ImageStore } from "./image-store.ts";

/** Records of images and layers that this build cannot read: nothing of them is removed, and a build that can read them has them back. */

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

/** A store with the images `x:1` of layers 1 and 2, and `y:1` of layer 3, each layer on none but for 2, which is on 1. */
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

  /** Names of the directories of layers. */
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

/** Still JSON, with one field that this build cannot read. */
const ofLaterBuild = (row: string, field: string) =>
  JSON.stringify({ ...(JSON.parse(row) as object), [field]: { new: 1 } });
/** Cut off before anything of it can be read. */
const cut = (row: string) => row.slice(0, 3);

for (const [how, change] of [
  ["of a later build", (row: string) => ofLaterBuild(row, "sizeBytes")],
  ["cut off", cut],
] as const) {
  test(`an image whose record is ${how} counts as absent, keeps its row and its layers, and is back when it can be read`, async (t) => {
    const all = await Fixture.make(t);
    const before = all.rowOf("images", "a");
    all.setRow("images", "a", change(before));
    const store = await all.open();
    assert.deepEqual(all.tags(), ["docker.io/library/y:1"]);
    assert.match(all.lines.join("\n"), /record of an image cannot be read: it is left as it is/);
    store.collectGarbage();
    store.collectGarbage();
    assert.deepEqual(all.directories(), three);
    assert.equal(all.rowOf("images", "a"), change(before));
    assert.equal(all.lines.filter((line) => /no layer is removed/.test(line)).length, how === "cut off" ? 1 : 0);
    all.setRow("images", "a", before);
    await all.reopen();
    assert.deepEqual(all.tags(), ["docker.io/library/x:1", "docker.io/library/y:1"]);
  });

  test(`a layer whose record is ${how} keeps its row and its files; its image waits, and is back when it can be read`, async (t) => {
    const all = await Fixture.make(t);
    const before = all.rowOf("layers", "2");
    all.setRow("layers", "2", change(before));
    const store = await all.open();
    assert.deepEqual(all.tags(), ["docker.io/library/y:1"]);
    assert.throws(() => store.lowerDirectories({ layers: [digest("2")] }), /its record cannot be read; pull the image/);
    store.collectGarbage();
    assert.deepEqual([all.directories(), all.rowOf("layers", "2")], [three, change(before)]);
    assert.doesNotMatch(all.rowOf("images", "a"), /brokenSinceMs/, "no time runs against it");
    all.setRow("layers", "2", before);
    await all.reopen();
    assert.deepEqual(all.tags(), ["docker.io/library/x:1", "docker.io/library/y:1"]);
  });

  test(`pulling an image again replaces a layer whose record is ${how}; the row and the files stay as they are until the layer goes`, async (t) => {
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
      assert.ok(existsSync(join(all.root, "layers/222222222222/diff/file")), "containers may stand on it");
    }
    all.store.remove("x:1");
    await all.store.close();
    assert.deepEqual(all.directories(), ["333333333333"]);
  });
}

test("an image that is pulled again takes the place of its record, which is set aside as it is", async (t) => {
  const all = await Fixture.make(t);
  const row = ofLaterBuild(all.rowOf("images", "a"), "config");
  all.setRow("images", "a", row);
  await all.open();
  all.addImage("a", ["1", "2"], "docker.io/library/x:1");
  assert.equal(all.db.prepare("SELECT record FROM damaged").get()!["record"], row);
  await all.reopen();
  assert.deepEqual(all.tags(), ["docker.io/library/x:1", "docker.io/library/y:1"]);
});

test("a person removes an image that cannot be read by any of its names, and its layers with it", async (t) => {
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

test("a tag that another image took meanwhile stays with that one when the first can be read again", async (t) => {
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

test("no layer is removed while somebody says that not all that stand on one are known", async (t) => {
  const all = await Fixture.make(t);
  const store = await all.open();
  all.held = "a reason";
  store.remove("x:1");
  await store.close();
  assert.deepEqual(all.directories(), three);
  assert.match(all.lines.join("\n"), /no layer is removed until that can be told: a reason/);
  all.held = undefined;
  store.collectGarbage();
  await store.close();
  assert.deepEqual(all.directories(), ["333333333333"]);
});

test("blobs of layers that cannot be read are kept", async (t) => {
  const all = await Fixture.make(t);
  all.setRow("layers", "2", cut(all.rowOf("layers", "2")));
  const blobs = join(all.root, "blobs/sha256");
  mkdirSync(blobs, { recursive: true });
  writeFileSync(join(blobs, "2".repeat(64)), "blob");
  await all.open();
  assert.deepEqual(readdirSync(blobs), ["2".repeat(64)]);
});

test("what a later build wrote beside the fields that this one knows is written back with them", async (t) => {
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
