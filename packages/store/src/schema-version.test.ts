import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type TestContext, test } from "node:test";
import { Code, StatusError } from "@keelson/base/status.ts";
import { connect } from "./connection.ts";
import { openDatabase } from "./database.ts";
import { migrate, type Migration, migrations, refuseNewerSchema, schemaVersion, versionOf } from "./schema-version.ts";

function directory(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), "keelson-schema-"));
  t.after(() => rmSync(dir, { recursive: true }));
  return dir;
}

const isRefusal = (error: unknown) =>
  error instanceof StatusError && error.code === Code.FailedPrecondition && /state\.db/.test(error.message);

/** Steps of a later build: each changes every row of the one before. */
const laterSteps: readonly Migration[] = [
  ...migrations,
  (db) => db.exec("UPDATE pods SET record = record || '3'"),
  (db) => db.exec("ALTER TABLE pods RENAME TO sandboxes; UPDATE sandboxes SET record = record || '4'"),
];

test("a new database gets this build's version, and opening it again changes nothing", (t) => {
  const path = join(directory(t), "state.db");
  {
    using db = openDatabase(path);
    assert.equal(versionOf(db), schemaVersion);
  }
  const before = readFileSync(path);
  openDatabase(path).close();
  assert.ok(readFileSync(path).equals(before));
});

test("migrations run in order from the version that there is, and the rows come along", (t) => {
  const path = join(directory(t), "state.db");
  using db = openDatabase(path);
  db.exec("INSERT INTO pods VALUES ('a', 'x')");
  assert.equal(migrate(db, laterSteps), schemaVersion);
  assert.equal(versionOf(db), schemaVersion + 2);
  assert.equal(db.prepare("SELECT record FROM sandboxes").get()!["record"], "x34");
});

test("a newer version is refused with both versions and what to do, and no file is touched or made", (t) => {
  const dir = directory(t);
  const path = join(dir, "state.db");
  {
    using db = openDatabase(path);
    db.exec(`PRAGMA user_version=${schemaVersion + 1}`);
  }
  const before = readFileSync(path);
  assert.throws(
    () => refuseNewerSchema(path),
    (error: unknown) => {
      assert.ok(isRefusal(error));
      const { message } = error as Error;
      assert.match(message, new RegExp(`version ${schemaVersion + 1}.*versions up to ${schemaVersion}`));
      assert.match(message, /start the newer keelsond again/);
      return true;
    },
  );
  assert.throws(() => openDatabase(path), isRefusal);
  assert.deepEqual(readdirSync(dir), ["state.db"]);
  assert.ok(readFileSync(path).equals(before));
});

test("a newer version that is only in the log yet, of a daemon that was killed, is refused too", (t) => {
  const dir = directory(t);
  using live = openDatabase(join(dir, "live.db"));
  live.exec(`PRAGMA user_version=${schemaVersion + 1}`);
  for (const suffix of ["", "-wal"]) copyFileSync(join(dir, `live.db${suffix}`), join(dir, `state.db${suffix}`));
  assert.throws(() => refuseNewerSchema(join(dir, "state.db")), isRefusal);
});

test("what is missing, damaged or no version at all is not for this check", (t) => {
  const dir = directory(t);
  refuseNewerSchema(join(dir, "none/state.db"));
  refuseNewerSchema(dir);
  const path = join(dir, "state.db");
  writeFileSync(path, "this was a database");
  refuseNewerSchema(path);
  rmSync(path);
  for (const version of [-1, 2 ** 30]) {
    using db = connect(path);
    db.exec(`PRAGMA user_version=${version}`);
    refuseNewerSchema(path);
    assert.throws(() => versionOf(db), /schema version is/);
  }
});

test("a step that fails takes all of them back", (t) => {
  const path = join(directory(t), "state.db");
  using db = openDatabase(path);
  db.exec("INSERT INTO pods VALUES ('a', 'x')");
  const failing: Migration = () => {
    throw new Error("no");
  };
  assert.throws(() => migrate(db, [...laterSteps, failing]), /no/);
  assert.equal(versionOf(db), schemaVersion);
  assert.equal(db.prepare("SELECT record FROM pods").get()!["record"], "x");
});

/** A program that migrates a database and is killed: before its step of that number, or after the commit. */
const killedMigration = (path: string, killedAt: number) => `
  const { migrate, migrations } = await import(${JSON.stringify(join(import.meta.dirname, "schema-version.ts"))});
  const { connect } = await import(${JSON.stringify(join(import.meta.dirname, "connection.ts"))});
  const die = () => process.kill(process.pid, "SIGKILL");
  const change = (text) => (db) => db.exec("UPDATE pods SET record = record || '" + text + "'");
  const steps = [...migrations, change("3"), change("4"), change("5")];
  const killed = steps.toSpliced(${killedAt}, 0, die).slice(0, steps.length + 1);
  migrate(connect(${JSON.stringify(path)}), ${killedAt} > steps.length ? steps : killed);
  die();`;

test("killed within any of its steps, a migration has not happened; killed after the commit, it has", (t) => {
  for (let killedAt = schemaVersion; killedAt <= schemaVersion + 4; killedAt += 1) {
    const path = join(directory(t), "state.db");
    {
      using db = openDatabase(path);
      db.exec("BEGIN");
      for (let n = 0; n < 200; n += 1) db.prepare("INSERT INTO pods VALUES (?, ?)").run(String(n), "x".repeat(2000));
      db.exec("COMMIT");
    }
    const { signal, stderr } = spawnSync(process.execPath, [
      "--input-type=module",
      "-e",
      killedMigration(path, killedAt),
    ]);
    assert.equal(signal, "SIGKILL", stderr.toString());
    using db = new DatabaseSync(path);
    const isDone = killedAt > schemaVersion + 3;
    const rows = db.prepare("SELECT record FROM pods").all();
    assert.equal(rows.length, 200);
    const endings = new Set(rows.map((row) => String(row["record"]).slice(2000)));
    assert.deepEqual(
      [versionOf(db), [...endings]],
      isDone ? [schemaVersion + 3, ["345"]] : [schemaVersion, [""]],
      `step ${killedAt}`,
    );
  }
});

test("each migration stands alone in its file, in order, with a test", () => {
  const names = readdirSync(join(import.meta.dirname, "migrations"));
  const files = names.filter((name) => !name.endsWith(".test.ts")).sort();
  assert.deepEqual(
    files.map((name) => Number.parseInt(name, 10)),
    migrations.map((_, i) => i + 1),
  );
  for (const name of files)
    assert.ok(existsSync(join(import.meta.dirname, "migrations", name.replace(".ts", ".test.ts"))), name);
});
