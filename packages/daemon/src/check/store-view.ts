import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { type ContainerRecord, readContainerRecord } from "@keelson/engine/records/container-record.ts";
import { bundleDir, containersDir, databasePath, type Paths, podDir } from "@keelson/engine/records/paths.ts";
import { type PodRecord, readPodRecord } from "@keelson/engine/records/pod-record.ts";
import { standInForContainer } from "@keelson/engine/records/unreadable-container.ts";
import { standInForPod } from "@keelson/engine/records/unreadable-pod.ts";
import {
  type ImageRecord,
  type LayerRecord,
  parseImageRecord,
  parseLayerRecord,
  readUnreadableImage,
  readUnreadableLayer,
  type UnreadableImage,
  type UnreadableLayer,
} from "@keelson/images/record.ts";
import { bootId } from "@keelson/linux/procfs.ts";
import { exitsDir } from "@keelson/runtimes/runtime-paths.ts";
import { openReadOnly } from "@keelson/store/connection.ts";
import { hasTable, problemsOf } from "@keelson/store/database-salvage.ts";
import { parseRows, type Rows, type TableName, type UnreadableRow } from "@keelson/store/record-table.ts";
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
  /** Those that can be read. */
  readonly pods: ReadonlyMap<string, PodRecord>;
  readonly containers: ReadonlyMap<string, ContainerRecord>;
  readonly images: ReadonlyMap<string, ImageRecord>;
  readonly layers: ReadonlyMap<string, LayerRecord>;
  readonly unreadable: UnreadableRecords;
  /** How many rows were set aside before now. */
  readonly setAside: number;
}

/** What can be told of records that cannot be read: what belongs to them is left alone. */
export interface UnreadableRecords {
  readonly rows: readonly (UnreadableRow & { readonly table: TableName })[];
  readonly pods: readonly PodRecord[];
  readonly containers: readonly ContainerRecord[];
  readonly images: readonly UnreadableImage[];
  readonly layers: readonly UnreadableLayer[];
  /** How many rows there are of which not even the id can be read. */
  readonly strayRows: { readonly pods: number; readonly containers: number };
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
  return { config, paths, daemonPid, names, ...readRecords(paths) };
}

/** Ids of pods that may exist: those with a record, readable or not, and those of containers whose records cannot be read. */
export function knownPods({ pods, unreadable }: StoreView): Set<string> {
  return new Set([
    ...pods.keys(),
    ...unreadable.pods.map(({ id }) => id),
    ...unreadable.containers.map(({ podId }) => podId),
  ]);
}

/** Ids of containers that may exist. */
export function knownContainers({ containers, unreadable }: StoreView): Set<string> {
  return new Set([...containers.keys(), ...unreadable.containers.map(({ id }) => id)]);
}

type Records = Omit<StoreView, "config" | "paths" | "daemonPid" | "names">;

function readRecords(paths: Paths): Records {
  const path = databasePath(paths);
  const none = { records: new Map<string, never>(), unreadable: [] };
  const nothing = { ...recordsOf(paths, { pods: none, containers: none, images: none, layers: none }), setAside: 0 };
  if (!existsSync(path)) return { ...nothing, databaseProblems: [] };
  try {
    using db = openReadOnly(path);
    // One state of all tables, whatever a daemon writes meanwhile.
    db.exec("BEGIN");
    const setAside = hasTable(db, "damaged")
      ? Number(db.prepare("SELECT count(*) AS n FROM damaged").get()?.["n"] ?? 0)
      : 0;
    return { databaseProblems: problemsOf(db), ...recordsOf(paths, readTables(db)), setAside };
  } catch (error) {
    return { ...nothing, databaseProblems: [(error as Error).message] };
  }
}

interface Tables {
  readonly pods: Rows<PodRecord>;
  readonly containers: Rows<ContainerRecord>;
  readonly images: Rows<ImageRecord>;
  readonly layers: Rows<LayerRecord>;
}

function readTables(db: DatabaseSync): Tables {
  const read = <T extends { readonly id: string }>(table: TableName, parse: (value: unknown) => T): Rows<T> =>
    parseRows(hasTable(db, table) ? db.prepare(`SELECT id, record FROM ${table} ORDER BY id`).all() : [], parse);
  return {
    pods: read("pods", readPodRecord),
    containers: read("containers", readContainerRecord),
    images: read("images", parseImageRecord),
    layers: read("layers", parseLayerRecord),
  };
}

function recordsOf(paths: Paths, tables: Tables): Omit<Records, "databaseProblems" | "setAside"> {
  const boot = bootId();
  const pods = tables.pods.unreadable.flatMap((row) => standInForPod(row, paths, boot) ?? []);
  const containers = tables.containers.unreadable.flatMap((row) => standInForContainer(row, paths, boot) ?? []);
  const rows = Object.entries(tables).flatMap(([table, { unreadable }]: [string, Rows<{ readonly id: string }>]) =>
    unreadable.map((row) => ({ ...row, table: table as TableName })),
  );
  return {
    pods: tables.pods.records,
    containers: tables.containers.records,
    images: tables.images.records,
    layers: tables.layers.records,
    unreadable: {
      rows,
      pods,
      containers,
      images: tables.images.unreadable.map(readUnreadableImage),
      layers: tables.layers.unreadable.map(readUnreadableLayer),
      strayRows: {
        pods: tables.pods.unreadable.length - pods.length,
        containers: tables.containers.unreadable.length - containers.length,
      },
    },
  };
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).sort() : [];
}
