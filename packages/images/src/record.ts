import type { ImageConfig } from "@keelson/oci/image-spec/config.ts";
import { wholeMembers } from "@keelson/store/record-json.ts";
import type { UnreadableRow } from "@keelson/store/record-table.ts";
import * as v from "valibot";

/** An image, as kept in the table `images`. Never changed in place. */
export interface ImageRecord {
  /**
   * The digest of the image config, `sha256:…`: the CRI's Image.id. The same content has the same id in every registry.
   */
  readonly id: string;
  /** `domain/path:tag`, sorted. */
  readonly repoTags: readonly string[];
  /** `domain/path@digest`, sorted: the digest of the index if there is one, else of the manifest. */
  readonly repoDigests: readonly string[];
  /** The digest of the manifest for this platform. */
  readonly manifestDigest: string;
  /** Chain ids, lowest first. */
  readonly layers: readonly string[];
  /** What its layers use on disk, including shared ones. */
  readonly sizeBytes: number;
  readonly pulledAtMs: number;
  readonly config: ImageConfig;
  /** Since when it has had missing or damaged layers, in ms since 1970; undefined: it has all of them. */
  readonly brokenSinceMs?: number | undefined;
}

/** An unpacked layer, as kept in the table `layers`; its files are in `ROOT/layers/DIRECTORY/diff`. */
export interface LayerRecord {
  /** The chain id, which stands for the layer with everything below it. */
  readonly id: string;
  /** The chain id of the layer below; undefined for the lowest one. */
  readonly parent: string | undefined;
  /** The digest of the uncompressed tar. */
  readonly diffId: string;
  /** The digest of what was fetched. */
  readonly digest: string;
  readonly compressedBytes: number;
  readonly sizeBytes: number;
  readonly inodes: number;
  readonly directory: string;
  /** It hides everything below it. */
  readonly isOpaque: boolean;
  /** The boot during which it was written, /proc/sys/kernel/random/boot_id. */
  readonly bootId: string;
  /** Its files are known to be on the disk and not only in memory. */
  readonly isDurable: boolean;
  /**
   * The digest of the manifest beside its files (layer-manifest.ts); undefined for layers from before manifests
   * existed.
   */
  readonly manifestDigest: string | undefined;
  /**
   * Directories from a record of this layer that could not be read. Containers may use them; they are removed with the
   * layer.
   */
  readonly formerDirectories?: readonly string[] | undefined;
}

const anyDigest = v.pipe(v.string(), v.regex(/^sha(?:256:[a-f0-9]{64}|512:[a-f0-9]{128})$/));
const digest = anyDigest;
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const strings = v.array(v.string());

// Additional properties from a newer build are kept, and written back with the others.
const imageSchema = v.looseObject({
  id: digest,
  repoTags: strings,
  repoDigests: strings,
  manifestDigest: digest,
  layers: v.array(digest),
  sizeBytes: count,
  pulledAtMs: count,
  config: v.looseObject({
    os: v.string(),
    architecture: v.string(),
    variant: v.string(),
    created: v.string(),
    user: v.string(),
    env: strings,
    entrypoint: strings,
    cmd: strings,
    workingDir: v.string(),
    stopSignal: v.string(),
    labels: v.record(v.string(), v.string()),
    volumes: strings,
    exposedPorts: strings,
    diffIds: v.array(digest),
  }),
  brokenSinceMs: v.optional(count),
});

const directory = v.pipe(v.string(), v.regex(/^[a-f0-9]{12,128}$/));

const layerSchema = v.looseObject({
  id: digest,
  parent: v.optional(digest),
  diffId: digest,
  digest,
  compressedBytes: count,
  sizeBytes: count,
  inodes: count,
  directory,
  isOpaque: v.boolean(),
  bootId: v.string(),
  isDurable: v.boolean(),
  manifestDigest: v.optional(digest),
  formerDirectories: v.exactOptional(v.array(directory)),
});

/** Parses a record from the database. Throws an error that says what is wrong with it. */
export function parseImageRecord(value: unknown): ImageRecord {
  return v.parse(imageSchema, value);
}

/** Parses a record from the database. Throws an error that says what is wrong with it. */
export function parseLayerRecord(value: unknown): LayerRecord {
  const record = v.parse(layerSchema, value);
  return { ...record, parent: record.parent, manifestDigest: record.manifestDigest };
}

/** What could be read of an image's record that cannot be read as a whole. */
export interface UnreadableImage extends Pick<ImageRecord, "id" | "repoTags" | "repoDigests"> {
  readonly row: UnreadableRow;
  /** Undefined: it is not known which layers it has. */
  readonly layers: readonly string[] | undefined;
}

/** What could be read of a layer's record that cannot be read as a whole; undefined: not known. */
export interface UnreadableLayer extends Partial<Pick<LayerRecord, "directory" | "digest">> {
  readonly row: UnreadableRow;
  readonly id: string;
  /** "none" for the lowest one. */
  readonly parent?: string;
}

export function readUnreadableImage(row: UnreadableRow): UnreadableImage {
  const { id, repoTags, repoDigests, layers } = wholeMembers(row.text);
  const { entries } = imageSchema;
  return {
    row,
    id: readable(entries.id, id) ?? row.id,
    repoTags: readable(entries.repoTags, repoTags) ?? [],
    repoDigests: readable(entries.repoDigests, repoDigests) ?? [],
    layers: readable(entries.layers, layers),
  };
}

export function readUnreadableLayer(row: UnreadableRow): UnreadableLayer {
  const members = wholeMembers(row.text);
  const { entries } = layerSchema;
  const directory = readable(entries.directory, members["directory"]);
  const digest = readable(entries.digest, members["digest"]);
  // The lowest layer has none. In a record that is cut off before `directory`, which comes later, it may be missing.
  const isLowest = !("parent" in members) && directory !== undefined;
  const parent = isLowest ? "none" : readable(anyDigest, members["parent"]);
  return {
    row,
    id: readable(entries.id, members["id"]) ?? row.id,
    ...(directory === undefined ? {} : { directory }),
    ...(digest === undefined ? {} : { digest }),
    ...(parent === undefined ? {} : { parent }),
  };
}

function readable<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T | undefined {
  const result = v.safeParse(schema, value);
  return result.success ? result.output : undefined;
}
