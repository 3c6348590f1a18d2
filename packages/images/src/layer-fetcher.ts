import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { JoinedCalls } from "@keelson/base/joined-calls.ts";
import type { Log } from "@keelson/base/log.ts";
import { wrapError } from "@keelson/base/status.ts";
import type { RepositoryAccess } from "@keelson/oci/distribution/repository-client.ts";
import type { Descriptor } from "@keelson/oci/image-spec/manifest.ts";
import { layerFiles } from "./layer-files.ts";
import type { LayerStore } from "./layer-store.ts";
import type { LayerWorkers } from "./layer-workers.ts";
import type { LayerProgress } from "./pull-progress.ts";
import type { LayerRecord } from "./record.ts";
import { Slots } from "./slots.ts";
import type { LayerLimits } from "./unpack/layer-limits.ts";
import type { UnpackedLayer } from "./unpack/layer-writer.ts";

/** A layer of an image that is being pulled. */
export interface WantedLayer {
  chainId: string;
  diffId: string;
  descriptor: Descriptor;
}

/** The layers of an image, lowest first, and where to fetch them. */
export interface WantedImage {
  access: RepositoryAccess;
  layers: readonly WantedLayer[];
}

export interface LayerFetcherOptions {
  layers: LayerStore;
  workers: LayerWorkers;
  maxParallelDownloads: number;
  limits: LayerLimits;
  /** Where compressed layers are kept, `ROOT/blobs`; undefined: they are not kept. */
  blobsDirectory: string | undefined;
  log: Log;
  /** Called when a layer was added though the last pull that wanted it has failed meanwhile: no image may need it. */
  abandoned: () => void;
}

/** Fetches layers into the store: all layers of an image in parallel, each only once however many pulls want it. */
export class LayerFetcher {
  readonly #options: LayerFetcherOptions;
  readonly #slots: Slots;
  readonly #running = new JoinedCalls<LayerRecord>(0);
  readonly #progress = new Map<string, LayerProgress>();
  #receivedBytes = 0;

  constructor(options: LayerFetcherOptions) {
    this.#options = options;
    this.#slots = new Slots(options.maxParallelDownloads);
  }

  /** How many bytes of compressed layers registries have sent since the start. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Resolves when all layers of the image are in the store. */
  async fetchAll(image: WantedImage, signal: AbortSignal): Promise<void> {
    await this.#need(image, image.layers.length - 1, signal);
  }

  /** The progress of a layer. */
  progressOf(layer: WantedLayer): LayerProgress {
    const { digest, sizeBytes } = layer.descriptor;
    const isPresent = this.#options.layers.isWhole(layer.chainId);
    return (
      this.#progress.get(layer.chainId) ?? {
        digest,
        stage: isPresent ? "present" : "waiting",
        receivedBytes: 0,
        totalBytes: sizeBytes,
      }
    );
  }

  /**
   * Fetches the layer at `index` and all below it. Each run waits for the one below by itself, so that it is completed
   * even when the pull that started it has been abandoned.
   */
  async #need(image: WantedImage, index: number, signal: AbortSignal): Promise<LayerRecord | undefined> {
    const layer = image.layers[index];
    if (layer === undefined) return undefined;
    const present = this.#options.layers.get(layer.chainId);
    if (present !== undefined && this.#options.layers.isWhole(present.id)) {
      // One below it may still be missing or damaged.
      await this.#need(image, index - 1, signal);
      return present;
    }
    return this.#running.join(layer.chainId, signal, (shared) => this.#fetch(image, index, layer, shared));
  }

  async #fetch(image: WantedImage, index: number, layer: WantedLayer, signal: AbortSignal): Promise<LayerRecord> {
    const abort = new AbortController();
    const either = AbortSignal.any([signal, abort.signal]);
    // The lower ones are requested first, so that they are fetched first.
    const below = this.#need(image, index - 1, either);
    const unpacked = this.#unpack(image.access, layer, below, either);
    try {
      const [record] = await Promise.all([unpacked, below]);
      return record;
    } catch (error) {
      abort.abort(error);
      // After this nothing is done any more for this layer, nor for those below unless others want them.
      await Promise.allSettled([unpacked, below]);
      throw error;
    } finally {
      this.#progress.delete(layer.chainId);
    }
  }

  async #unpack(
    access: RepositoryAccess,
    layer: WantedLayer,
    below: Promise<LayerRecord | undefined>,
    signal: AbortSignal,
  ): Promise<LayerRecord> {
    const { layers } = this.#options;
    // A failure there is handled where it is awaited; until then it must not count as unhandled.
    below.catch(() => undefined);
    const temporary = await layers.makeTemporary();
    try {
      const unpacked = await this.#download(access, layer, temporary, signal);
      const parent = await below;
      const manifestDigest = await this.#inherit(temporary, unpacked, parent, signal);
      signal.throwIfAborted();
      return await this.#keep(layer, { ...unpacked, manifestDigest, temporary, parent: parent?.id }, signal);
    } catch (error) {
      await layers.removeTemporary(temporary);
      layers.removeBlob(layer.descriptor.digest);
      signal.throwIfAborted();
      throw wrapError(`layer ${layer.descriptor.digest}`, error);
    }
  }

  /**
   * Gives directories without an entry in the layer their attributes in the layers below. Returns the manifest's
   * digest.
   */
  async #inherit(
    temporary: string,
    { implicitDirectories: paths, manifestDigest }: UnpackedLayer,
    parent: LayerRecord | undefined,
    signal: AbortSignal,
  ): Promise<string> {
    if (parent === undefined || paths.length === 0) return manifestDigest;
    const below = this.#options.layers.lowerDirectories(this.#chainOf(parent));
    const job = {
      directory: join(temporary, layerFiles.diff),
      manifestPath: join(temporary, layerFiles.manifest),
      paths,
      below,
    };
    return (await this.#options.workers.inherit(job, signal)).manifestDigest;
  }

  /** Adds the layer to the store, or uses it to repair the damaged one there. */
  async #keep(
    { descriptor, chainId: id, diffId }: WantedLayer,
    unpacked: UnpackedLayer & { temporary: string; parent: string | undefined },
    signal: AbortSignal,
  ): Promise<LayerRecord> {
    const { layers, workers, log } = this.#options;
    const { sizeBytes, inodes, isOpaque, manifestDigest, temporary, parent } = unpacked;
    const known = layers.get(id);
    if (known === undefined) {
      const added = await layers.commit(temporary, {
        id,
        parent,
        diffId,
        digest: descriptor.digest,
        compressedBytes: descriptor.sizeBytes,
        sizeBytes,
        inodes,
        isOpaque,
        manifestDigest,
      });
      if (signal.aborted) this.#options.abandoned();
      return added;
    }
    const differences = await workers.repair({ damaged: layers.directoryOf(known), fresh: temporary }, signal);
    for (const { path, is, detail } of differences)
      log.warn({ layer: id, path, detail }, `repaired what was ${is} in a damaged layer`);
    await layers.removeTemporary(temporary);
    return layers.repaired(id, manifestDigest);
  }

  async #download(
    access: RepositoryAccess,
    layer: WantedLayer,
    temporary: string,
    signal: AbortSignal,
  ): ReturnType<LayerWorkers["fetch"]> {
    using _ = await this.#slots.take(signal);
    const { digest, sizeBytes: totalBytes } = layer.descriptor;
    const report = (stage: LayerProgress["stage"], receivedBytes: number) => {
      // A download that was restarted has fewer bytes than before.
      this.#receivedBytes += Math.max(0, receivedBytes - (this.#progress.get(layer.chainId)?.receivedBytes ?? 0));
      this.#progress.set(layer.chainId, { digest, stage, receivedBytes, totalBytes });
    };
    report("downloading", 0);
    const blobPath = this.#options.blobsDirectory === undefined ? undefined : join(temporary, "blob");
    const [directory, manifestPath] = [join(temporary, layerFiles.diff), join(temporary, layerFiles.manifest)];
    const job = {
      access,
      descriptor: layer.descriptor,
      diffId: layer.diffId,
      directory,
      manifestPath,
      blobPath,
      umask,
      limits: this.#options.limits,
    };
    const unpacked = await this.#options.workers.fetch(job, (received) => report("downloading", received), signal);
    if (blobPath !== undefined) await this.#keepBlob(blobPath, digest);
    report("done", totalBytes);
    return unpacked;
  }

  async #keepBlob(path: string, digest: string): Promise<void> {
    const [algorithm, hex] = digest.split(":") as [string, string];
    const directory = join(this.#options.blobsDirectory ?? "", algorithm);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await rename(path, join(directory, hex));
  }

  /** The chain ids of a layer and all below it, lowest first. */
  #chainOf(layer: LayerRecord): string[] {
    const chain: string[] = [];
    for (
      let at: LayerRecord | undefined = layer;
      at !== undefined;
      at = at.parent === undefined ? undefined : this.#options.layers.get(at.parent)
    )
      chain.unshift(at.id);
    return chain;
  }
}

const umask = process.umask();
