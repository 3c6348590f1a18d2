import type { DatabaseSync } from "node:sqlite";
import type { Log } from "@keelson/base/log.ts";
import { HttpTransport } from "@keelson/oci/distribution/transport.ts";
import { hostPlatform } from "@keelson/oci/image-spec/platform.ts";
import { LayerWorkers } from "../layer-workers.ts";
import { ImagePuller } from "../pull.ts";
import { ImageStore } from "../store.ts";
import type { LayerLimits } from "../unpack/layer-limits.ts";

export interface ImagesOptions {
  /** The daemon's root: layers are in ROOT/layers, kept blobs in ROOT/blobs. */
  root: string;
  db: DatabaseSync;
  log: Log;
  /** `[registry] config_path`, split at its colons. */
  hostsDirectories: readonly string[];
  maxParallelDownloads: number;
  keepLayers: boolean;
  /** Over limits that no test reaches. */
  layerLimits?: Partial<LayerLimits>;
  /** Chain ids of layers that containers stand on. Asked when layers are removed, never while opening. */
  layersInUse: () => Iterable<string>;
}

/** A store and what pulls into it, joined for tests as daemon.ts joins them. */
export interface Images {
  readonly store: ImageStore;
  readonly puller: ImagePuller;
  /** Ends pulls and waits for removals and syncs under way. */
  close(): Promise<void>;
}

/** For tests. `warmThreadPool` must have run before the first pull. */
export async function openImages(options: ImagesOptions): Promise<Images> {
  const { root, log, hostsDirectories, maxParallelDownloads, keepLayers } = options;
  const layerLimits = { maxBytes: 2 ** 33, maxRatio: 1000, maxEntries: 1_000_000, maxPathBytes: 4095, ...options.layerLimits };
  const store = await ImageStore.open(options);
  const workers = new LayerWorkers(2);
  const transport = new HttpTransport();
  const platform = hostPlatform(process.arch);
  const puller = new ImagePuller({ root, store, workers, transport, hostsDirectories, platform, maxParallelDownloads, layerLimits, keepLayers, log, now: Date.now });
  return {
    store,
    puller,
    close: async () => {
      await workers.close();
      transport[Symbol.dispose]();
      await store.close();
    },
  };
}
