import { silentLog } from "@keelson/base/log.ts";
import { databasePath } from "@keelson/engine/records/paths.ts";
import type { ImageRecord } from "@keelson/images/record.ts";
import { openOrSalvage } from "@keelson/store/database-salvage.ts";
import type { TableName } from "@keelson/store/record-table.ts";
import { type Finding, type Repair, shortId } from "./finding.ts";
import type { PullAgain } from "./pull-again.ts";
import type { StoreView } from "./store-view.ts";

/** What an unreadable record means; a build that can read it has everything back. */
const meansOfRow: Record<TableName, string> = {
  pods: "keelsond leaves the pod as it is and lists it as NotReady; start the build that wrote the record, or remove the pod",
  containers:
    "keelsond leaves the container running and lists it as Unknown; start the build that wrote the record, or remove the container",
  images: "the image counts as absent until it is pulled; neither it nor its layers are removed",
  layers: "images with this layer count as absent until they are pulled; neither it nor its files are removed",
};

/** The database itself, and records that cannot be read. */
export function checkDatabase(view: StoreView, pullAgain: PullAgain): Finding[] {
  const path = databasePath(view.paths);
  const broken = view.databaseProblems.map((problem): Finding => ({
    about: "database",
    where: path,
    what: `SQLite finds it damaged: ${problem}`,
    means: "pods, containers and images whose records are lost are taken down or pulled again at keelsond's next start",
    repair: {
      does: "makes a new one of what can be read of it and moves it aside, as keelsond does when it starts",
      besideDaemon: false,
      run: () => {
        openOrSalvage(path, silentLog).close();
        return Promise.resolve("moved aside to state.db.damaged-TIME; the new one holds what could be read");
      },
    },
  }));
  const rows = view.unreadable.rows.map((row): Finding => ({
    about: "record",
    where: `${row.table}/${shortId(row.id)}`,
    what: `cannot be read: ${row.reason.split("\n")[0]}`,
    means: meansOfRow[row.table],
    repair: repairOf(view, row, pullAgain),
  }));
  // One repair serves all that SQLite finds.
  return [...broken.map((finding, index) => (index === 0 ? finding : { ...finding, repair: undefined })), ...rows];
}

/** Nobody but a person decides about a pod or a container. */
function repairOf(
  view: StoreView,
  row: StoreView["unreadable"]["rows"][number],
  pullAgain: PullAgain,
): Repair | undefined {
  const images = imagesToPull(view, row).filter(({ repoDigests }) => repoDigests.length > 0);
  if (images.length === 0) return undefined;
  return {
    does: "pulls what it is of, and sets the record aside as it is",
    besideDaemon: true,
    run: async () => `pulled from ${await pullAgain(images)}; the record is in the table \`damaged\``,
  };
}

function imagesToPull(
  { images, unreadable }: StoreView,
  { table, id }: StoreView["unreadable"]["rows"][number],
): Pick<ImageRecord, "repoDigests">[] {
  if (table === "images") return unreadable.images.filter(({ row }) => row.id === id);
  if (table !== "layers") return [];
  const layer = unreadable.layers.find(({ row }) => row.id === id);
  return [...images.values(), ...unreadable.images].filter(({ layers }) => layers?.includes(layer?.id ?? id));
}
