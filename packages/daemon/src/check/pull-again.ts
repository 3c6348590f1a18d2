import { silentLog } from "@keelson/base/log.ts";
import { messageOf } from "@keelson/base/status.ts";
import { createCriClient } from "@keelson/cri/client.ts";
import { layersOf, whyLayersAreHeld } from "@keelson/engine/records/container-record.ts";
import { databasePath } from "@keelson/engine/records/paths.ts";
import { openImages } from "@keelson/images/open-images.ts";
import type { ImageRecord } from "@keelson/images/record.ts";
import { openDatabase } from "@keelson/store/database.ts";
import { imagesSettings } from "../config/engine-settings.ts";
import type { Config } from "../config/schema.ts";
import type { StoreView } from "./store-view.ts";

/**
 * Pulls one of these images by its digest, so that it is the same one, which fetches only what is missing or
 * marked as damaged. Resolves with where it came from; throws why none could be pulled.
 */
export type PullAgain = (images: readonly Pick<ImageRecord, "repoDigests">[]) => Promise<string>;

/** How long a pull may take, in ms. */
const pullTimeoutMs = 30 * 60_000;

/** Beside a daemon it is the one that pulls; else this process does, as the daemon would. */
export function pullAgainFor(view: StoreView): PullAgain {
  const pull = view.daemonPid === undefined ? pullHere : pullByDaemon;
  return async (images) => {
    const references = images.flatMap((image) => image.repoDigests);
    const reasons: string[] = [];
    for (const reference of references) {
      try {
        await pull(view, reference, AbortSignal.timeout(pullTimeoutMs));
        return reference;
      } catch (error) {
        reasons.push(messageOf(error));
      }
    }
    const why = references.length === 0 ? "no registry is known for it" : reasons.join("; ");
    throw new Error(
      `it cannot be pulled now: ${why}. It is marked: its images count as absent, and the kubelet's next PullImage, with the pod's credentials, fetches only what is damaged`,
    );
  };
}

async function pullHere(
  { config, containers, unreadable }: StoreView,
  reference: string,
  signal: AbortSignal,
): Promise<void> {
  await using parts = new AsyncDisposableStack();
  const db = openDatabase(databasePath(config));
  parts.defer(() => db.close());
  const all = [...containers.values(), ...unreadable.containers];
  const { puller } = parts.use(
    await openImages(
      {
        root: config.root,
        db,
        log: silentLog,
        layersInUse: () => all.flatMap(layersOf),
        whyLayersAreHeld: () => whyLayersAreHeld(all, unreadable.strayRows.containers),
      },
      imagesSettings(config),
    ),
  );
  await puller.pull({ reference, signal });
}

async function pullByDaemon({ config }: { config: Config }, reference: string, signal: AbortSignal): Promise<void> {
  const client = createCriClient(config.socket);
  try {
    const image = { image: reference, annotations: {}, userSpecifiedImage: "", runtimeHandler: "", imageRef: "" };
    await client.call("pullImage", { image, auth: undefined, sandboxConfig: undefined }, signal);
  } finally {
    client.close();
  }
}
