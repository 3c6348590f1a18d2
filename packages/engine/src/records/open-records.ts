import type { Log } from "@keelson/base/log.ts";
import { RecordStore, type StandIn } from "@keelson/store/record-store.ts";
import type { RecordTable, UnreadableRow } from "@keelson/store/record-table.ts";
import type { ContainerRecord } from "./container-record.ts";
import type { Paths } from "./paths.ts";
import type { PodRecord } from "./pod-record.ts";
import { standInForContainer } from "./unreadable-container.ts";
import { standInForPod } from "./unreadable-pod.ts";

export interface RecordTables {
  readonly pods: RecordTable<PodRecord>;
  readonly containers: RecordTable<ContainerRecord>;
}

/** The records of pods and containers. */
export interface OpenRecords {
  readonly pods: RecordStore<PodRecord>;
  readonly containers: RecordStore<ContainerRecord>;
  /** Rows of which not even the id can be read: whatever has no record may be theirs. */
  readonly strayRows: { readonly pods: number; readonly containers: number };
}

/**
 * Reads all records. One that cannot be read, as another build wrote it or it was damaged, has a stand-in: its row
 * stays as it is, and so does whatever it stands for, until a client removes it or a build that can read it starts.
 */
export function openRecords(tables: RecordTables, paths: Paths, bootId: string, log: Log): OpenRecords {
  const pods = openStore(tables.pods, "pod sandbox", log, (row) => standInForPod(row, paths, bootId));
  const containers = openStore(tables.containers, "container", log, (row) => standInForContainer(row, paths, bootId));
  return {
    pods: pods.store,
    containers: containers.store,
    strayRows: { pods: pods.strayRows, containers: containers.strayRows },
  };
}

function openStore<R extends { readonly id: string; readonly name: string }>(
  table: RecordTable<R>,
  kind: string,
  log: Log,
  standInFor: (row: UnreadableRow) => R | undefined,
): { store: RecordStore<R>; strayRows: number } {
  const { records, unreadable } = table.readAll();
  const standIns = unreadable.flatMap((row): StandIn<R>[] => {
    log.error(
      { kind, id: row.id, reason: row.reason },
      `the record of a ${kind} cannot be read: it and all that belongs to it are left as they are; see docs/upgrading.md`,
    );
    const record = standInFor(row);
    return record === undefined ? [] : [{ record, rowId: row.id }];
  });
  const store = new RecordStore(table, kind, records.values(), standIns);
  return { store, strayRows: unreadable.length - standIns.length };
}
