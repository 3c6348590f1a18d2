import { availableParallelism } from "node:os";
import type { DatabaseSync } from "node:sqlite";
import type { Log } from "@keelson/base/log.ts";
import { HttpTransport } from "@keelson/oci/distribution/transport.ts";
import { hostPlatform } from "@keelson/oci/image-spec/platform.ts";
import { ImagePuller } from "./image-puller.ts";
import { ImageStore } from "./image-store.ts";
import { LayerWorkers } from "./layer-workers.ts";
import type { LayerLimits } from "./unpack/layer-limits.ts";

/** What the daemon's configuration says about images. */
export interface ImagesSettings {
  /** Directories with `REGISTRY/hosts.toml`. */
  readonly hostsDirectories: readonly string[];
  /** Per image. */
  readonly maxParallelDownloads: number;
  /** Whether to keep compressed layers after they have been unpacked. */
  readonly keepLayers: boolean;
  readonly layerLimits: LayerLimits;
}

/** What `openImages` needs from its caller. */
export interface ImagesDeps {
  /** Layers are in ROOT/layers, kept blobs in ROOT/blobs. */
  readonly root: string;
  readonly db: DatabaseSync;
  readonly log: Log;
  /** Chain ids of the layers that containers use. Called before layers are removed, never while opening. */
  readonly layersInUse: () => Iterable<string>;
  /** Why no layer may be removed now, because not all layers that containers use are known; undefined when they are. */
  readonly whyLayersAreHeld?: () => string | undefined;
}

/** A store, and a puller that adds to it. Disposing ends pulls, and waits for removals and syncs that are running. */
export interface Images extends AsyncDisposable {
  readonly store: ImageStore;
  readonly puller: ImagePuller;
}

/** How many threads download and unpack: more than there are cores would not help. */
const layerThreads = Math.min(4, Math.max(2, availableParallelism()));

/** Opens the images of a root. `warmThreadPool` must have run before the first pull. */
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
