import { availableParallelism } from "node:os";
import type { DatabaseSync } from "node:sqlite";
import type { Log } from "@keelson/base/log.ts";
import { HttpTransport } from "@keelson/oci/distribution/transport.ts";
import { hostPlatform } from "@keelson/oci/image-spec/platform.ts";
import { ImagePuller } from "./image-puller.ts";
import { ImageStore } from "./image-store.ts";
import { LayerWorkers } from "./layer-workers.ts";
import type { LayerLimits } from "./unpack/layer-limits.ts";

/** What the configuration says of images. */
export interface ImagesSettings {
  /** Directories with a `hosts.toml` for each registry. */
  readonly hostsDirectories: readonly string[];
  /** Of one image. */
  readonly maxParallelDownloads: number;
  /** Whether compressed layers stay after they were unpacked. */
  readonly keepLayers: boolean;
  readonly layerLimits: LayerLimits;
}

/** What images are opened with. */
export interface ImagesDeps {
  /** Layers are in ROOT/layers, kept blobs in ROOT/blobs. */
  readonly root: string;
  readonly db: DatabaseSync;
  readonly log: Log;
  /** Chain ids of layers that containers stand on. Asked when layers are removed, never while opening. */
  readonly layersInUse: () => Iterable<string>;
  /** Why no layer may be removed now, as nobody can tell all that containers stand on; undefined when that is known. */
  readonly whyLayersAreHeld?: () => string | undefined;
}

/** A store, and what pulls into it. Disposing of them ends pulls, and waits for removals and syncs under way. */
export interface Images extends AsyncDisposable {
  readonly store: ImageStore;
  readonly puller: ImagePuller;
}

/** Threads that download and unpack: more than there are cores do not help. */
const layerThreads = Math.min(4, Math.max(2, availableParallelism()));

/** Opens the images of a root. The thread pool must have been warmed before the first pull. */
export async function openImages(deps: ImagesDeps, settings: ImagesSettings): Promise<Images> {
  await using parts = new AsyncDisposableStack();
  const store = await ImageStore.open(deps);
  parts.defer(() => store.close());
  const transport = parts.use(new HttpTransport());
  const workers = new LayerWorkers(layerThreads);
  parts.defer(() => workers.close());
  const { root, log } = deps;
  const puller = new ImagePuller({
    ...settings,
    root,
    log,
    store,
    workers,
    transport,
    platform: hostPlatform(process.arch),
    now: Date.now,
  });
  const all = parts.move();
  return { store, puller, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
