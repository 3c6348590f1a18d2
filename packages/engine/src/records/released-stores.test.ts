import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { ImageStore } from "@keelson/images/image-store.ts";
import { openOrSalvage } from "@keelson/store/database-salvage.ts";
import { parseRecordText } from "@keelson/store/record-json.ts";
import { RecordTable } from "@keelson/store/record-table.ts";
import { schemaVersion, versionOf } from "@keelson/store/schema-version.ts";
import { fixtureStore, fixtureVersions, unpackFixture } from "../testing/store-fixture.ts";
import { layersOf, readContainerRecord, writeContainerRecord } from "./container-record.ts";
import { openRecords } from "./open-records.ts";
import { readPodRecord, writePodRecord } from "./pod-record.ts";

/** The stores that releases have left behind, opened with today's build: see ../testing/store-fixture.ts. */

const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as Record<string, unknown>;

async function open(t: TestContext, version: string) {
  const dir = mkdtempSync(join(tmpdir(), "keelson-released-"));
  t.after(() => rmSync(dir, { recursive: true }));
  chmodSync(dir, 0o700);
  unpackFixture(version, dir);
  const lines: string[] = [];
  const note = (_: object, text: string) => void lines.push(text);
  const log = { ...silentLog, warn: note, error: note };
  const root = join(dir, "root");
  const db = openOrSalvage(join(root, "state.db"), log);
  t.after(() => db.close());
  const tables = {
    pods: new RecordTable(db, "pods", readPodRecord, writePodRecord),
    containers: new RecordTable(db, "containers", readContainerRecord, writeContainerRecord),
  };
  const records = openRecords(tables, { root, state: join(dir, "state") }, "another boot", log);
  const images = await ImageStore.open({
    root,
    db,
    log,
    layersInUse: () => records.containers.all().flatMap(layersOf),
  });
  t.after(() => images.close());
  return { root, db, lines, ...records, images };
}

for (const version of fixtureVersions()) {
  test(`every record of keelsond ${version} is read, and says what it said`, async (t) => {
    const { db, lines, pods, containers, images } = await open(t, version);
    assert.equal(versionOf(db), schemaVersion);
    assert.deepEqual(lines, [], "nothing is found wrong");
    const { tables } = fixtureStore(version);
    const ids = (table: string) => Object.keys(tables[table]!).sort();
    const idsOf = (records: Iterable<{ id: string }>) => [...records].map(({ id }) => id).sort();
    assert.deepEqual(idsOf(pods.all()), ids("pods"));
    assert.deepEqual(idsOf(containers.all()), ids("containers"));
    assert.deepEqual(idsOf(images.list()), ids("images"));
    assert.deepEqual(idsOf(images.layers.all()), ids("layers"));
    for (const [table, kind] of [
      ["pods", { read: readPodRecord, write: writePodRecord }],
      ["containers", { read: readContainerRecord, write: writeContainerRecord }],
    ] as const) {
      for (const [id, row] of Object.entries(tables[table]!)) {
        const value = parseRecordText(JSON.stringify(row));
        const written = (kind.write as (record: unknown) => object)(kind.read(value));
        // Whatever else there is now, what was there is there.
        assert.deepEqual({ ...plainBigints(written), ...plain(row) }, plainBigints(written), `${table} ${id}`);
      }
    }
  });

  test(`the store of keelsond ${version} has pods, containers and images of every kind`, async (t) => {
    const { pods, containers, images } = await open(t, version);
    const states = (records: readonly { state: { is: string } }[]) => new Set(records.map(({ state }) => state.is));
    assert.deepEqual(states(pods.all()), new Set(["creating", "ready", "stopping", "notReady"]));
    assert.deepEqual(states(containers.all()), new Set(["creating", "created", "running", "exited", "unknown"]));
    const has = (what: string, found: boolean) => assert.ok(found, `there is no ${what}`);
    const plans = pods.all().map(({ plan }) => plan);
    has(
      "pod that shares its PID namespace",
      pods.all().some(({ init }) => init !== undefined),
    );
    has(
      "pod with a user namespace",
      plans.some(({ userNamespace }) => userNamespace !== undefined),
    );
    has(
      "pod in the host's network",
      plans.some(({ network }) => network === "host"),
    );
    has(
      "pod that is a container",
      pods.all().some(({ plan, sandbox }) => plan.sandbox === "container" && sandbox),
    );
    has(
      "port mapping",
      plans.some(({ portMappings }) => portMappings.length > 0),
    );
    has(
      "DNS configuration",
      plans.some(({ resolvConf }) => resolvConf !== undefined),
    );
    has(
      "pod with other resources",
      pods.all().some(({ overhead }) => overhead !== undefined),
    );
    has(
      "container with an image as a volume",
      containers.all().some((c) => c.mountedImages.length > 0),
    );
    has(
      "container with new limits",
      containers.all().some((c) => c.resources?.memoryLimitInBytes === 2n ** 29n),
    );
    has(
      "container whose limits are being changed",
      containers.all().some((c) => c.resizing !== undefined),
    );
    has(
      "exit code",
      containers.all().some(({ state }) => state.is === "exited" && state.exitCode === 3),
    );
    has(
      "image",
      images.list().some(({ layers, repoTags }) => layers.length > 0 && repoTags.length > 0),
    );
  });

  test(`no layer and no file of keelsond ${version} is removed by opening its images and collecting what is not needed`, async (t) => {
    const { root, images } = await open(t, version);
    const files = () => readdirSync(join(root, "layers"), { recursive: true, encoding: "utf8" }).sort();
    const before = files();
    assert.ok(before.length > 3);
    images.collectGarbage();
    await images.close();
    assert.deepEqual(files(), before);
    assert.equal(images.lowerDirectories({ layers: images.list()[0]!.layers }).length, 1);
  });
}

/** As a row has it: a bigint is {"$n": "123"}. */
function plainBigints(value: unknown): Record<string, unknown> {
  return JSON.parse(
    JSON.stringify(value, (_, each: unknown) => (typeof each === "bigint" ? { $n: String(each) } : each)),
  ) as Record<string, unknown>;
}
