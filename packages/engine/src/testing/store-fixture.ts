import { lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/*
 * What a released keelsond left behind when it was killed, as text that a review can read: its database in store.json,
 * its other files in files.json. scripts/store-fixture.ts makes one with each release.
 */

/** Where the daemon of a fixture had its files. */
export const fixtureDir = "/run/keelson-fixture";

const testdata = join(import.meta.dirname, "../../testdata");

/** A database: rows as they were written, byte for byte but for the white space between them here. */
export interface FixtureStore {
  readonly version: number;
  /** The statements that made it. */
  readonly schema: readonly string[];
  /** Records, by table and id. */
  readonly tables: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** Versions of keelsond that there are fixtures of. */
export function fixtureVersions(): string[] {
  return readdirSync(testdata)
    .filter((name) => name.startsWith("store-"))
    .map((name) => name.slice("store-".length));
}

export function fixtureStore(version: string): FixtureStore {
  return JSON.parse(readFileSync(join(testdata, `store-${version}`, "store.json"), "utf8")) as FixtureStore;
}

/** Text of every file by its path, "" for a directory, whose path ends in a slash. */
function fixtureFiles(version: string): Record<string, string> {
  return JSON.parse(readFileSync(join(testdata, `store-${version}`, "files.json"), "utf8")) as Record<string, string>;
}

/**
 * Makes the root and state directory of a fixture in another one, as if the daemon had always had them there.
 *
 * @param change what else is to be different in a record; it must have the same length only if somebody counts on that.
 */
export function unpackFixture(
  version: string,
  dir: string,
  change: (table: string, record: Record<string, unknown>) => unknown = (_, record) => record,
): void {
  const moved = (text: string) => text.replaceAll(fixtureDir, dir);
  for (const [path, text] of Object.entries(fixtureFiles(version))) {
    const target = join(dir, path);
    if (path.endsWith("/")) mkdirSync(target, { recursive: true });
    else {
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, moved(text), { mode: 0o600 });
    }
  }
  const { version: schemaVersion, schema, tables } = fixtureStore(version);
  mkdirSync(join(dir, "root"), { recursive: true });
  using db = new DatabaseSync(join(dir, "root/state.db"));
  db.exec(`PRAGMA journal_mode=WAL; BEGIN; ${schema.join("; ")}; PRAGMA user_version=${schemaVersion}`);
  for (const [table, records] of Object.entries(tables)) {
    const insert = db.prepare(`INSERT INTO ${table} (id, record) VALUES (?, ?)`);
    for (const [id, record] of Object.entries(records))
      insert.run(id, moved(JSON.stringify(change(table, record as Record<string, unknown>))));
  }
  db.exec("COMMIT");
}

/** Reads a database that nobody has open; what is only in its log, too. */
export function readStore(path: string): FixtureStore {
  using db = new DatabaseSync(path);
  const texts = db.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name").all();
  const rowsOf = (table: string) =>
    db
      .prepare(`SELECT id, record FROM ${table} ORDER BY id`)
      .all()
      .map(({ id, record }) => [String(id), JSON.parse(String(record)) as unknown]);
  return {
    version: Number(db.prepare("PRAGMA user_version").get()!["user_version"]),
    schema: texts.map(({ sql }) => String(sql)),
    tables: Object.fromEntries(
      texts
        .map(({ name }) => String(name))
        .filter((name) => name !== "damaged")
        .map((name) => [name, Object.fromEntries(rowsOf(name)) as Record<string, unknown>]),
    ),
  };
}

/** Writes a fixture of a daemon that was killed. */
export function writeFixture(target: string, store: FixtureStore, dir: string): void {
  mkdirSync(target, { recursive: true });
  writeFileSync(join(target, "store.json"), `${JSON.stringify(store, undefined, 2)}\n`);
  const files = Object.fromEntries(["root", "state"].flatMap((name) => [...filesIn(dir, name, lstatSync(dir).dev)]));
  writeFileSync(join(target, "files.json"), `${JSON.stringify(files, undefined, 2)}\n`);
}

/** Of a layer's files and of what is mounted, the directories are enough. */
function* filesIn(dir: string, path: string, device: number): Iterable<[string, string]> {
  // What the runtimes keep is theirs.
  if (/^(root\/(state\.db.*|lock|reserve)|state\/(runtimes|shims)\/.*)$/.test(path)) return;
  const info = lstatSync(join(dir, path));
  if (info.isDirectory()) {
    yield [`${path}/`, ""];
    if (info.dev !== device || /^root\/layers\/[^/]+\/diff$/.test(path)) return;
    for (const name of readdirSync(join(dir, path)).sort()) yield* filesIn(dir, join(path, name), device);
  } else if (info.isFile()) {
    yield [path, info.dev === device ? textOf(join(dir, path)) : ""];
  }
}

function textOf(file: string): string {
  const bytes = readFileSync(file);
  return bytes.includes(0) ? "" : bytes.toString();
}
