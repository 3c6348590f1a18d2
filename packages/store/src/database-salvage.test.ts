import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { silentLog } from "@keelson/base/log.ts";
import { openOrSalvage, problemsOf } from "./database-salvage.ts";
import { openDatabase } from "./database.ts";
import { RecordTable } from "./record-table.ts";
import { schemaVersion, versionOf } from "./schema-version.ts";

/** What a power cut, a torn write and a bad disk make of the state database. */

interface Example {
  id: string;
  version: number;
  filling: string;
}

const id = (n: number) => n.toString(16).padStart(2, "0").repeat(32);
const tableOf = (db: ReturnType<typeof openDatabase>) => new RecordTable(db, "pods", (value) => value as Example);

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-db-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

/** A database as it is found after SIGKILL, its log not written back, and what it held after each commit. */
function killedDatabase(dir: string, commits: number): { path: string; states: Map<string, number>[] } {
  const db = openDatabase(join(dir, "live.db"));
  const table = tableOf(db);
  const states = [new Map<string, number>()];
  for (let version = 1; version <= commits; version += 1) {
    const key = id(version % 7);
    table.put(key, { id: key, version, filling: "x".repeat((version % 5) * 700) });
    states.push(new Map(states.at(-1)).set(key, version));
  }
  const path = join(dir, "state.db");
  for (const suffix of ["", "-wal"]) copyFileSync(join(dir, `live.db${suffix}`), path + suffix);
  db.close();
  return { path, states };
}

function versionsIn(path: string): Map<string, number> {
  using db = openOrSalvage(path, { ...silentLog, error: (_fields, message) => assert.fail(message) });
  return new Map([...tableOf(db).readAll().records].map(([key, { version }]) => [key, version]));
}

const frameBytes = 24 + 4096;

/** A deterministic sequence in [0, 1). */
function random(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

test("a log that ends anywhere gives the state after some commit, and never an older one for more of it", (t) => {
  const dir = directory(t);
  const { path, states } = killedDatabase(dir, 25);
  const [whole, log] = [readFileSync(path), readFileSync(`${path}-wal`)];
  const next = random(7);
  const ends = [0, 1, 31, 32, log.length];
  for (let frame = 32; frame <= log.length; frame += frameBytes)
    ends.push(frame - 1, frame, frame + 1, frame + 24, frame + Math.floor(next() * frameBytes));
  let latest = 0;
  for (const end of ends.filter((e) => e <= log.length).sort((a, b) => a - b)) {
    writeFileSync(path, whole);
    writeFileSync(`${path}-wal`, log.subarray(0, end));
    rmSync(`${path}-shm`, { force: true });
    const found = versionsIn(path);
    const at = states.findLastIndex(
      (state) => state.size === found.size && [...state].every(([key, version]) => found.get(key) === version),
    );
    assert.ok(at >= latest, `${end} bytes of the log give state ${at}, fewer gave ${latest}`);
    latest = at;
  }
  assert.equal(latest, 25);
});

test("bytes flipped in the log's tail cost at most the commits from there on", (t) => {
  const dir = directory(t);
  const { path, states } = killedDatabase(dir, 25);
  const [whole, log] = [readFileSync(path), readFileSync(`${path}-wal`)];
  const next = random(11);
  for (let round = 0; round < 150; round += 1) {
    const torn = Buffer.from(log);
    const from = Math.floor(next() * (log.length - 32)) + 32;
    for (let n = 0; n < 3; n += 1)
      torn[from + Math.floor(next() * (log.length - from))]! ^= 1 + Math.floor(next() * 255);
    writeFileSync(path, whole);
    writeFileSync(`${path}-wal`, torn);
    rmSync(`${path}-shm`, { force: true });
    const found = versionsIn(path);
    assert.ok(
      states.some(
        (state) => state.size === found.size && [...state].every(([key, version]) => found.get(key) === version),
      ),
      `round ${round}: ${JSON.stringify([...found])}`,
    );
  }
});

test("a database damaged beyond that is moved aside, and what can be read of it is in the new one", (t) => {
  const path = damagedDatabase(directory(t));
  const bytes = readFileSync(path);
  const lines: string[] = [];
  using db = openOrSalvage(path, { ...silentLog, error: (_fields, message) => void lines.push(message) }, () => 0);
  const { records } = tableOf(db).readAll();
  assert.ok(records.size > 180 && records.size < 200, `${records.size} rows`);
  assert.deepEqual(problemsOf(db), []);
  assert.match(lines[0]!, /damaged.*moved aside/);
  assert.ok(existsSync(`${path}.damaged-1970-01-01T00-00-00.000Z`));
  assert.equal(statSync(`${path}.damaged-1970-01-01T00-00-00.000Z`).size, bytes.length);
});

test("whatever has happened to the file, the daemon starts, and what was there is kept", (t) => {
  const dir = directory(t);
  const { path } = killedDatabase(dir, 40);
  versionsIn(path);
  const whole = readFileSync(path);
  const next = random(23);
  const damage = [
    Buffer.from("garbage"),
    Buffer.alloc(4096),
    whole.subarray(0, 100),
    whole.subarray(0, 5000),
    whole.subarray(0, whole.length - 4096),
  ];
  for (let round = 0; round < 60; round += 1) {
    const bytes = Buffer.from(whole);
    // Half of them where all the structure is.
    const range = round % 2 === 0 ? 200 : bytes.length;
    for (let n = 0; n < 4; n += 1) bytes[Math.floor(next() * range)]! ^= 1 + Math.floor(next() * 255);
    damage.push(bytes);
  }
  for (const [round, bytes] of damage.entries()) {
    for (const name of readdirSync(dir)) if (name.startsWith("state.db")) rmSync(join(dir, name));
    writeFileSync(path, bytes);
    using db = openOrSalvage(path, silentLog);
    const table = tableOf(db);
    table.readAll();
    table.put("new", { id: "new", version: 0, filling: "" });
    assert.deepEqual(problemsOf(db), [], `round ${round}`);
  }
});

test("a file that cannot be reached is no reason to start anew", (t) => {
  const dir = directory(t);
  assert.throws(() => openOrSalvage(join(dir, "no-such-directory/state.db"), silentLog), /unable to open/);
  assert.deepEqual(readdirSync(dir), []);
});

/** A sound database of 200 rows, and what it is with a page of them lost. */
function damagedDatabase(dir: string, version = schemaVersion): string {
  const path = join(dir, "state.db");
  {
    using db = openDatabase(path);
    const table = tableOf(db);
    db.exec("BEGIN");
    for (let n = 0; n < 200; n += 1) table.put(id(n), { id: id(n), version: n, filling: "x".repeat(1000) });
    db.exec(`PRAGMA user_version=${version}; COMMIT`);
  }
  const bytes = readFileSync(path);
  bytes.fill(0xff, 20 * 4096, 21 * 4096);
  writeFileSync(path, bytes);
  return path;
}

test("a damaged database of an older schema is salvaged as what it was, and then migrated", (t) => {
  const path = damagedDatabase(directory(t), 1);
  const lines: string[] = [];
  using db = openOrSalvage(path, {
    ...silentLog,
    info: (fields, text) => void lines.push(JSON.stringify({ fields, text })),
  });
  assert.equal(versionOf(db), schemaVersion);
  assert.match(lines.join(), /"from":1,"to":2.*new schema version/);
  assert.ok(tableOf(db).readAll().records.size > 180);
});

test("a damaged database of a newer schema is refused, and nothing is changed", (t) => {
  const dir = directory(t);
  const path = damagedDatabase(dir, schemaVersion + 1);
  const before = readFileSync(path);
  const names = readdirSync(dir);
  assert.throws(() => openOrSalvage(path, silentLog), /newer keelsond/);
  assert.deepEqual([readdirSync(dir), readFileSync(path).equals(before)], [names, true]);
});

test("wherever the salvage of a database is cut off, the next start has all that could be read", (t) => {
  // What a salvage does, one rename after the other.
  const whole = directory(t);
  using done = openOrSalvage(damagedDatabase(whole), silentLog, () => 0);
  const expected = tableOf(done).readAll().records.size;
  const time = "1970-01-01T00-00-00.000Z";
  done.close();
  const salvaged = readFileSync(join(whole, "state.db"));
  const states: Record<string, (dir: string) => void> = {
    "before the new one is complete": (dir) =>
      writeFileSync(join(dir, "state.db.salvaging"), salvaged.subarray(0, 5000)),
    "when it is": (dir) => writeFileSync(join(dir, `state.db.salvaged-${time}`), salvaged),
    "between the log and the file": (dir) => {
      writeFileSync(join(dir, `state.db.salvaged-${time}`), salvaged);
      writeFileSync(join(dir, `state.db.damaged-${time}-wal`), "");
    },
    "before the new one is in its place": (dir) => {
      writeFileSync(join(dir, `state.db.salvaged-${time}`), salvaged);
      renameSync(join(dir, "state.db"), join(dir, `state.db.damaged-${time}`));
    },
  };
  for (const [when, cutOff] of Object.entries(states)) {
    const dir = directory(t);
    damagedDatabase(dir);
    cutOff(dir);
    using db = openOrSalvage(join(dir, "state.db"), silentLog, () => 0);
    assert.equal(tableOf(db).readAll().records.size, expected, when);
    assert.ok(existsSync(join(dir, `state.db.damaged-${time}`)), when);
    assert.deepEqual(
      readdirSync(dir).filter((name) => /salvag/.test(name)),
      [],
      when,
    );
  }
});
