import type { DatabaseSync } from "node:sqlite";
import type { Log } from "@keelson/base/log.ts";
import { RecordTable } from "@keelson/store/record-table.ts";
import { ImageNames } from "./image-names.ts";
import { LayerStore } from "./layer-store.ts";
import { type ImageRecord, parseImageRecord, readUnreadableImage, type UnreadableImage } from "./record.ts";

export interface ImageStoreOptions {
  /** The daemon's root: layers are in ROOT/layers, kept blobs in ROOT/blobs. */
  root: string;
  db: DatabaseSync;
  log: Log;
  /** Chain ids of the layers that containers use; the layers below them are kept too. */
  layersInUse: () => Iterable<string>;
  /** Why no layer may be removed now, because not all layers in use are known; undefined when they are. */
  whyLayersAreHeld?: () => string | undefined;
}

/** A name under which an image was pulled. */
export interface ImageName {
  /** `domain/path:tag`; undefined when the image was pulled by digest. */
  repoTag: string | undefined;
  /** `domain/path@digest`. */
  repoDigest: string;
}

/**
 * The images of this node. Lists and look-ups use what is in memory and take no lock; a change is written to disk
 * before it is made in memory.
 */
export class ImageStore {
  readonly layers: LayerStore;
  readonly #table: RecordTable<ImageRecord>;
  readonly #layersInUse: () => Iterable<string>;
  readonly #whyHeldOutside: () => string | undefined;
  readonly #log: Log;
  /** Absent for clients; they and their layers are only removed when a client names them. */
  readonly #unreadable = new Set<UnreadableImage>();
  /** Why no layers could be removed the last time; logged once. */
  #heldFor: string | undefined;
  /** Layers that running pulls need, with the number of those pulls. */
  readonly #pinned = new Map<string, number>();
  /** All images by id, including those with missing or damaged layers. */
  #images: ReadonlyMap<string, ImageRecord> = new Map();
  /** The images with all of their layers. */
  #list: readonly ImageRecord[] = [];
  #names = new ImageNames<ImageRecord>(new Map());

  private constructor(layers: LayerStore, table: RecordTable<ImageRecord>, options: ImageStoreOptions) {
    this.layers = layers;
    this.#table = table;
    this.#layersInUse = options.layersInUse;
    this.#whyHeldOutside = options.whyLayersAreHeld ?? (() => undefined);
    this.#log = options.log;
  }

  /**
   * Reads the records. Images with missing or damaged layers are logged and reported as absent, so that the kubelet
   * pulls them again; for that their other layers are kept for a day. Layers that nothing needs are kept until
   * `collectGarbage`, as containers are not known yet.
   */
  static async open(options: ImageStoreOptions): Promise<ImageStore> {
    const layers = await LayerStore.open(options.root, options.db, options.log);
    const store = new ImageStore(layers, new RecordTable(options.db, "images", parseImageRecord), options);
    store.#recover();
    return store;
  }

  /** All images; the same array until something changes. */
  list(): readonly ImageRecord[] {
    return this.#list;
  }

  /**
   * Finds an image by id, with or without `sha256:` and shortened, by tag or by digest; undefined when there is none.
   */
  find(reference: string): ImageRecord | undefined {
    return this.#names.find(reference);
  }

  /** The image with this digest of a manifest or index, from whichever repository. */
  findByDigest(digest: string): ImageRecord | undefined {
    return this.#names.byDigest(digest);
  }

  /**
   * Looks at an image's layers on disk again. False: it cannot be used any more, and is reported as absent from now on.
   */
  isStillWhole(image: ImageRecord): boolean {
    if (this.layers.lookAgain(image.layers)) this.#replace([...this.#images.values()]);
    return this.#list.some((other) => other.id === image.id);
  }

  /** The lower directories for an overlay mount, uppermost first. Throws FailedPrecondition when a layer is missing. */
  lowerDirectories(image: { layers: readonly string[] }): string[] {
    return this.layers.lowerDirectories(image.layers);
  }

  /**
   * Adds an image, or a name to an existing one, and takes the tag from the image that had it. Durable when it returns.
   */
  add(image: Omit<ImageRecord, "repoTags" | "repoDigests" | "sizeBytes">, name: ImageName): ImageRecord {
    const known = this.#images.get(image.id);
    const sizeBytes = image.layers.reduce((sum, id) => sum + (this.layers.get(id)?.sizeBytes ?? 0), 0);
    const { brokenSinceMs: _, ...whole } = known ?? image;
    const record: ImageRecord = {
      ...whole,
      sizeBytes,
      repoTags: withName(known?.repoTags, name.repoTag),
      repoDigests: withName(known?.repoDigests, name.repoDigest),
    };
    const changed = [record];
    const { repoTag } = name;
    for (const other of repoTag === undefined ? [] : this.#images.values()) {
      if (other.id !== image.id && other.repoTags.includes(repoTag!))
        changed.unshift({ ...other, repoTags: other.repoTags.filter((tag) => tag !== repoTag) });
    }
    for (const each of changed) this.#put(each);
    this.#replace(
      [...this.#images.values()].filter((each) => changed.every((other) => other.id !== each.id)).concat(changed),
    );
    this.layers.syncSoon();
    return record;
  }

  /**
   * Removes an image with all its names, whichever of them is given, even if its record cannot be read. Does nothing
   * when there is no such image. Layers that a container uses are kept until it is gone. Files are removed in the
   * background.
   */
  remove(reference: string): void {
    // Includes images that lack layers.
    const image = this.find(reference) ?? new ImageNames(this.#images).find(reference);
    const unreadable = image === undefined ? this.#unreadableOf(reference) : undefined;
    if (image !== undefined) {
      this.#table.delete(image.id);
      this.#replace([...this.#images.values()].filter((other) => other.id !== image.id));
    } else if (unreadable !== undefined) {
      this.#table.delete(unreadable.row.id);
      this.#unreadable.delete(unreadable);
    } else return;
    this.collectGarbage();
  }

  /** Removes the layers that no image, container or pull needs; none while it is not known which ones these are. */
  collectGarbage(): void {
    const why = this.#whyHeld();
    if (why !== undefined && why !== this.#heldFor)
      this.#log.warn({}, `no layers are removed for now: ${why}; see docs/upgrading.md`);
    this.#heldFor = why;
    if (why !== undefined) return;
    const needed = this.#needed();
    this.layers.remove([...this.layers.all()].filter((layer) => !needed.has(layer.id)));
  }

  /** Protects layers, existing or future ones, from `collectGarbage` until disposed. */
  pin(ids: readonly string[]): Disposable {
    for (const id of ids) this.#pinned.set(id, (this.#pinned.get(id) ?? 0) + 1);
    return {
      [Symbol.dispose]: () => {
        for (const id of ids) {
          const count = (this.#pinned.get(id) ?? 0) - 1;
          if (count > 0) this.#pinned.set(id, count);
          else this.#pinned.delete(id);
        }
      },
    };
  }

  /** Waits for removals and syncs that are running. */
  async close(): Promise<void> {
    await this.layers.close();
  }

  #needed(): Set<string> {
    const needed = new Set<string>();
    const need = (id: string) => {
      // The parents of a layer in the set are in it too.
      for (let at: string | undefined = id; at !== undefined && !needed.has(at); at = this.layers.get(at)?.parent)
        needed.add(at);
    };
    for (const image of this.#images.values()) for (const id of image.layers) need(id);
    for (const image of this.#unreadable) for (const id of image.layers ?? []) need(id);
    for (const layer of this.layers.unreadable()) need(layer.parent ?? "none");
    for (const id of this.#layersInUse()) need(id);
    for (const id of this.#pinned.keys()) need(id);
    return needed;
  }

  /** Why it is not known which layers are needed; undefined when it is. */
  #whyHeld(): string | undefined {
    const image = [...this.#unreadable].find(({ layers }) => layers === undefined);
    if (image !== undefined) return `the layers of image ${image.id}, whose record cannot be read, are not known`;
    const layer = [...this.layers.unreadable()].find(({ parent }) => parent === undefined);
    if (layer !== undefined) return `what is below layer ${layer.id}, whose record cannot be read, is not known`;
    return this.#whyHeldOutside();
  }

  /** Durable when it returns. An unreadable row with the same id is set aside unchanged. */
  #put(image: ImageRecord): void {
    const unreadable = this.#images.has(image.id) ? undefined : this.#unreadableOf(image.id);
    if (unreadable === undefined) return this.#table.put(image.id, image);
    this.#table.replaceUnreadable(unreadable.row, image);
    this.#unreadable.delete(unreadable);
  }

  #unreadableOf(reference: string): UnreadableImage | undefined {
    return new ImageNames(new Map([...this.#unreadable].map((image) => [image.id, image]))).find(reference);
  }

  #recover(): void {
    const log = this.#log;
    const { records, unreadable } = this.#table.readAll();
    for (const row of unreadable) {
      const image = readUnreadableImage(row);
      this.#unreadable.add(image);
      log.error(
        { image: row.id, names: image.repoTags, reason: row.reason },
        "the record of an image cannot be read: it is left unchanged, and the image counts as absent until it is pulled; see docs/upgrading.md",
      );
    }
    const kept: ImageRecord[] = [];
    for (const image of withoutSharedTags(records)) {
      const missing = image.layers.find((id) => !this.layers.isWhole(id));
      // If only the layer's record cannot be read, the image waits for a build that can read it.
      if (missing === undefined || this.layers.isUnreadable(missing)) {
        kept.push(image);
        continue;
      }
      const { brokenSinceMs = Date.now() } = image;
      const fields = { image: image.id, names: image.repoTags, layer: missing };
      if (Date.now() - brokenSinceMs > keepBrokenMs) {
        log.warn(fields, "dropped an image that lacks layers, as nobody has pulled it for a day");
        this.#table.delete(image.id);
      } else {
        log.warn(fields, "an image lacks layers and counts as absent; pulling it fetches only what is missing");
        if (image.brokenSinceMs === undefined) this.#table.put(image.id, { ...image, brokenSinceMs });
        kept.push({ ...image, brokenSinceMs });
      }
    }
    this.#replace(kept);
  }

  #replace(images: readonly ImageRecord[]): void {
    this.#images = new Map(images.map((image) => [image.id, image]));
    const whole = images.filter((image) => image.layers.every((id) => this.layers.isWhole(id)));
    this.#list = Object.freeze(whole.sort((a, b) => (a.id < b.id ? -1 : 1)));
    this.#names = new ImageNames(new Map(whole.map((image) => [image.id, image])));
  }
}

/**
 * A tag may be in several records, if one of them could not be read when another image was pulled with that tag. It
 * belongs to the image that was pulled last.
 */
function withoutSharedTags(records: ReadonlyMap<string, ImageRecord>): ImageRecord[] {
  const byAge = [...records.values()].sort((a, b) => a.pulledAtMs - b.pulledAtMs);
  const holders = new Map(byAge.flatMap((image) => image.repoTags.map((tag) => [tag, image.id])));
  return [...records.values()].map((image) => {
    const repoTags = image.repoTags.filter((tag) => holders.get(tag) === image.id);
    return repoTags.length === image.repoTags.length ? image : { ...image, repoTags };
  });
}

/** How long an image that lacks layers keeps the others for its next pull, in ms. */
const keepBrokenMs = 24 * 3600 * 1000;

function withName(names: readonly string[] = [], name: string | undefined): readonly string[] {
  return name === undefined || names.includes(name) ? names : [...names, name].sort();
}
