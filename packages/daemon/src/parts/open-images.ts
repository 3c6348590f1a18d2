import { availableParallelism } from "node:os";
import type { DatabaseSync } from "node:sqlite";
import type { Log } from "@keelson/base/log.ts";
import { HttpTransport } from "@keelson/oci/distribution/transport.ts";
import { hostPlatform } from "@keelson/oci/image-spec/platform.ts";
import type { Config } from "../config/schema.ts";
import { LayerWorkers } from "@keelson/images/layer-workers.ts";
import { ImagePuller } from "@keelson/images/pull.ts";
import { ImageStore } from "@keelson/images/store.ts";

/** Threads that download and unpack: more than there are cores do not help. */
const layerThreads = Math.min(4, Math.max(2, availableParallelism()));

/**
 * The images of a root, with what pulls them, as the configuration wants it. What ends when they are no
 * longer needed goes to `parts`.
 *
 * @param layersInUse chain ids of layers that containers stand on.
 */
export async function openImages(config: Config, db: DatabaseSync, layersInUse: () => string[], log: Log, parts: AsyncDisposableStack): Promise<{ images: ImageStore; puller: ImagePuller }> {
  const images = await ImageStore.open({ root: config.root, db, log, layersInUse });
  parts.defer(() => images.close());
  const workers = new LayerWorkers(layerThreads);
  parts.defer(() => workers.close());
  const { max_parallel_downloads: maxParallelDownloads, keep_layers: keepLayers, ...limits } = config.images;
  const puller = new ImagePuller({
    root: config.root,
    store: images,
    workers,
    transport: parts.use(new HttpTransport()),
    hostsDirectories: config.registry.config_path.split(":").filter((dir) => dir !== ""),
    platform: hostPlatform(process.arch),
    maxParallelDownloads,
    layerLimits: {
      maxBytes: limits.max_layer_bytes,
      maxRatio: limits.max_layer_ratio,
      maxEntries: limits.max_layer_entries,
      maxPathBytes: limits.max_path_bytes,
    },
    keepLayers,
    log,
    now: Date.now,
  });
  return { images, puller };
}
