import { silentLog } from "@keelson/base/log.ts";
import { databasePath } from "@keelson/engine/records/paths.ts";
import { openOrSalvage } from "@keelson/store/database-salvage.ts";
import { openDatabase, setAside, type TableName } from "@keelson/store/record-table.ts";
import { type Finding, shortId } from "./finding.ts";
import type { StoreView } from "./store-view.ts";

const meansOfRow: Record<TableName, string> = {
  pods: "keelsond does not know this pod: its next start takes down what there is of it",
  containers: "keelsond does not know this container: its next start stops and removes what there is of it",
  images: "the image counts as absent until it is pulled again",
  layers: "images with this layer count as absent until they are pulled again",
};

/** The database itself, and records that cannot be read. */
export function checkDatabase(view: StoreView): Finding[] {
  const path = databasePath(view.paths);
  const broken = view.databaseProblems.map((problem): Finding => ({
    about: "database",
    where: path,
    what: `SQLite finds it damaged: ${problem}`,
    means: "pods, containers and images whose records are lost are taken down or pulled again at keelsond's next start",
    repair: {
      does: "moves it aside and makes a new one of what can be read of it, as keelsond does when it starts",
      besideDaemon: false,
      run: () => {
        openOrSalvage(path, silentLog).close();
        return Promise.resolve("moved aside to state.db.damaged-TIME; the new one holds what could be read");
      },
    },
  }));
  const rows = view.damagedRows.map(({ table, id, error }): Finding => ({
    about: "record",
    where: `${table}/${shortId(id)}`,
    what: `cannot be read: ${error.message.split("\n")[0]}`,
    means: meansOfRow[table],
    repair: {
      does: "moves it to the table `damaged` of the database, as it is",
      besideDaemon: false,
      run: () => {
        using db = openDatabase(path);
        setAside(db, table, id, error.message);
        return Promise.resolve("moved to the table `damaged`");
      },
    },
  }));
  // One repair serves all that SQLite finds.
  return [...broken.map((finding, index) => (index === 0 ? finding : { ...finding, repair: undefined })), ...rows];
}
