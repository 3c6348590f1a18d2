import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type ContainerRecord, readContainerRecord } from "@keelson/engine/records/container-record.ts";
import { bundleDir, containersDir, databasePath, type Paths, podDir } from "@keelson/engine/records/paths.ts";
import { type PodRecord, readPodRecord } from "@keelson/engine/records/pod-record.ts";
import { type ImageRecord, type LayerRecord, parseImageRecord, parseLayerRecord } from "@keelson/images/record.ts";
import { exitsDir } from "@keelson/runtimes/runtime-paths.ts";
import { hasTable, problemsOf } from "@keelson/store/database-salvage.ts";
import { type DamagedRow, parseRows, type TableName } from "@keelson/store/record-table.ts";
import type { Config } from "../config/schema.ts";

/** The store at one moment: what lies on disk, and after that all records. */
export interface StoreView {
  readonly config: Config;
  readonly paths: Paths;
  /** The daemon that works with it; undefined: none does, and none can start while we look. */
  readonly daemonPid: number | undefined;
  readonly names: DirectoryNames;
  /** What SQLite says against the database. */
  readonly databaseProblems: readonly string[];
  readonly pods: ReadonlyMap<string, PodRecord>;
  readonly containers: ReadonlyMap<string, ContainerRecord>;
  readonly images: ReadonlyMap<string, ImageRecord>;
  readonly layers: ReadonlyMap<string, LayerRecord>;
  readonly damagedRows: readonly (DamagedRow & { readonly table: TableName })[];
  /** How many rows were set aside before now. */
  readonly setAside: number;
}

/** Names in the directories that hold one thing for each record. */
export interface DirectoryNames {
  readonly layers: readonly string[];
  readonly writableLayers: readonly string[];
  readonly bundles: readonly string[];
  readonly podDirs: readonly string[];
  readonly exits: readonly string[];
}

/**
 * Looks at a store. Directories are listed before the records are read: a record is written before its
 * directory is made, so that one without a record is nobody's, also beside a daemon that works.
 * A database that cannot be read has no records. Throws what else SQLite and the file system say.
 */
export function viewStore(config: Config, daemonPid: number | undefined): StoreView {
  const paths = { root: config.root, state: config.state };
  const names = {
    layers: namesIn(join(paths.root, "layers")),
    writableLayers: namesIn(containersDir(paths)),
    bundles: namesIn(bundleDir(paths, "")),
    podDirs: namesIn(podDir(paths, "")),
    exits: namesIn(exitsDir(paths)),
  };
  return { config, paths, daemonPid, names, ...readRecords(databasePath(paths)) };
}

type Records = Omit<StoreView, "config" | "paths" | "daemonPid" | "names">;

function readRecords(path: string): Records {
  const nothing = {
    pods: new Map(),
    containers: new Map(),
    images: new Map(),
    layers: new Map(),
    damagedRows: [],
    setAside: 0,
  };
  if (!existsSync(path)) return { ...nothing, databaseProblems: [] };
  // Read-only also when nobody else has it open: looking must change nothing.
  using db = new DatabaseSync(path, { readOnly: true, timeout: 5000 });
  try {
    // One state of all tables, whatever a daemon writes meanwhile.
    db.exec("BEGIN");
    return { databaseProblems: problemsOf(db), ...readTables(db) };
  } catch (error) {
    return { ...nothing, databaseProblems: [(error as Error).message] };
  }
}

function readTables(db: DatabaseSync): Omit<Records, "databaseProblems"> {
  const damagedRows: (DamagedRow & { table: TableName })[] = [];
  const read = <T>(table: TableName, parse: (value: unknown) => T): ReadonlyMap<string, T> => {
    if (!hasTable(db, table)) return new Map();
    const { records, damaged } = parseRows(db.prepare(`SELECT id, record FROM ${table} ORDER BY id`).all(), parse);
    damagedRows.push(...damaged.map((row) => ({ ...row, table })));
    return records;
  };
  return {
    pods: read("pods", readPodRecord),
    containers: read("containers", readContainerRecord),
    images: read("images", parseImageRecord),
    layers: read("layers", parseLayerRecord),
    damagedRows,
    setAside: hasTable(db, "damaged") ? Number(db.prepare("SELECT count(*) AS n FROM damaged").get()?.["n"] ?? 0) : 0,
  };
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).sort() : [];
}
