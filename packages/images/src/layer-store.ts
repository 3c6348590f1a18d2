import { randomUUID } from "node:crypto";
import { existsSync, renameSync, rmSync } from "node:fs";
import { mkdir, open, readdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { Log } from "@keelson/base/log.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { syncfs } from "@keelson/linux/file.ts";
import { removeTreeAsync } from "@keelson/linux/tree.ts";
import { RecordTable } from "@keelson/store/record-table.ts";
import { layerFiles } from "./layer-files.ts";
import { type LayerRecord, parseLayerRecord, readUnreadableLayer, type UnreadableLayer } from "./record.ts";

/** For what is being made or removed; each start removes all of it. */
const temporaryPrefix = ".";
/** The lower directory of images without layers, as overlayfs needs one. */
const emptyDirectory = "empty";

/**
 * Unpacked layers on disk, in `ROOT/layers/DIRECTORY/diff`. A layer is made under a temporary name, then renamed, then
 * its record is written: a crash leaves a directory without a record, which the next start removes.
 *
 * When a layer is committed, its files may still be in the kernel's memory only, so that a pull need not wait for the
 * disk. Its record says so until the file system has been synced. After a power failure, the start drops layers that
 * had not been synced, and their images are pulled again.
 */
export class LayerStore {
  readonly #directory: string;
  readonly #table: RecordTable<LayerRecord>;
  readonly #log: Log;
  readonly #bootId: string;
  readonly #layers = new Map<string, LayerRecord>();
  /** By the ids of their rows. They cannot be used; their records and files are left unchanged. */
  readonly #unreadable = new Map<string, UnreadableLayer>();
  /** Marked by `keelsond check --repair`: they must be fetched again. */
  readonly #damaged = new Set<string>();
  readonly #background = new Set<Promise<void>>();
  #syncing: Promise<void> | undefined;
  #sequence = 0;
  #usage = { bytes: 0, inodes: 0 };

  private constructor(directory: string, table: RecordTable<LayerRecord>, log: Log, bootId: string) {
    this.#directory = directory;
    this.#table = table;
    this.#log = log;
    this.#bootId = bootId;
  }

  /** Opens `ROOT/layers`: removes incomplete layers and logs them. */
  static async open(root: string, db: DatabaseSync, log: Log): Promise<LayerStore> {
    const directory = join(root, "layers");
    await mkdir(join(directory, emptyDirectory), { recursive: true, mode: 0o755 });
    const bootId = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => randomUUID());
    const store = new LayerStore(directory, new RecordTable(db, "layers", parseLayerRecord), log, bootId.trim());
    await store.#recover();
    return store;
  }

  get(id: string): LayerRecord | undefined {
    return this.#layers.get(id);
  }

  /** Whether a layer exists and is not known to be damaged. */
  isWhole(id: string): boolean {
    return this.#layers.has(id) && !this.#damaged.has(id);
  }

  /** Whether this layer has a record that cannot be read. */
  isUnreadable(id: string): boolean {
    return this.#unreadableOf(id) !== undefined;
  }

  /** The layers whose records cannot be read, as far as they are known. */
  unreadable(): Iterable<UnreadableLayer> {
    return this.#unreadable.values();
  }

  /**
   * Looks at layers on disk again: those that were removed by hand are forgotten, and those that `keelsond check`
   * marked as damaged count as damaged. Returns whether anything has changed.
   */
  lookAgain(ids: readonly string[]): boolean {
    let hasChanged = false;
    for (const id of ids) {
      const layer = this.#layers.get(id);
      if (layer === undefined) continue;
      const wasWhole = !this.#damaged.has(id);
      if (!existsSync(this.diffDirectory(layer))) this.#forget(layer, "its files are gone");
      else this.#readMark(layer);
      hasChanged ||= wasWhole !== this.isWhole(id);
    }
    return hasChanged;
  }

  all(): Iterable<LayerRecord> {
    return this.#layers.values();
  }

  /** The sum of all layers, from their records. */
  get usage(): { bytes: number; inodes: number } {
    return this.#usage;
  }

  get directory(): string {
    return this.#directory;
  }

  /** The directory with a layer's files. */
  diffDirectory(layer: LayerRecord): string {
    return join(this.directoryOf(layer), layerFiles.diff);
  }

  /** The directory of a layer, with its files and its manifest (layer-files.ts). */
  directoryOf(layer: LayerRecord): string {
    return join(this.#directory, layer.directory);
  }

  /**
   * The directories for an overlay mount, uppermost first, for layers given lowest first. Throws FailedPrecondition
   * when a layer is missing or damaged.
   */
  lowerDirectories(ids: readonly string[]): string[] {
    const directories: string[] = [];
    for (const id of ids.toReversed()) {
      const layer = this.#layers.get(id);
      if (layer === undefined || this.#damaged.has(id)) {
        const what =
          layer !== undefined
            ? "damaged"
            : this.isUnreadable(id)
              ? "present, but its record cannot be read"
              : "missing";
        throw new StatusError(Code.FailedPrecondition, `layer ${id} is ${what}; pull the image again`);
      }
      directories.push(this.diffDirectory(layer));
      // Overlayfs would not look for the opaque mark on a layer's root directory.
      if (layer.isOpaque) break;
    }
    return directories.length === 0 ? [join(this.#directory, emptyDirectory)] : directories;
  }

  /** Makes a temporary directory, for files in its subdirectory `diff`. */
  async makeTemporary(): Promise<string> {
    const path = join(this.#directory, `${temporaryPrefix}${process.pid}-${(this.#sequence += 1)}`);
    // Not `recursive`, which fails with ENOENT on a read-only file system.
    for (const each of [path, join(path, layerFiles.diff)]) await mkdir(each, { mode: 0o755 });
    return path;
  }

  /**
   * Renames a temporary directory to its final name and writes the record. An unreadable record of the same layer is
   * set aside unchanged. Containers may use its files, so these are kept as long as the layer.
   */
  async commit(
    temporary: string,
    layer: Omit<LayerRecord, "directory" | "bootId" | "isDurable">,
  ): Promise<LayerRecord> {
    const unreadable = this.#unreadableOf(layer.id);
    const former = unreadable && (await this.#directoriesOf(unreadable));
    const record: LayerRecord = {
      ...layer,
      directory: this.#freeName(layer.id),
      bootId: this.#bootId,
      isDurable: false,
      ...(former === undefined ? {} : { formerDirectories: former }),
    };
    // Added before the rename, so that no other layer takes the name meanwhile.
    this.#layers.set(record.id, record);
    try {
      await rename(temporary, join(this.#directory, record.directory));
      if (unreadable === undefined) this.#table.put(record.id, record);
      else this.#table.replaceUnreadable(unreadable.row, record);
    } catch (error) {
      this.#layers.delete(record.id);
      throw error;
    }
    if (unreadable !== undefined) this.#unreadable.delete(unreadable.row.id);
    this.#count(record, 1);
    return record;
  }

  /** Records that a damaged layer has been repaired from a fresh one with this manifest. */
  repaired(id: string, manifestDigest: string): LayerRecord {
    const layer = this.#layers.get(id);
    if (layer === undefined)
      throw new StatusError(Code.Aborted, `layer ${id} was removed while it was repaired; pull the image again`);
    // What the repair has written may not be on the disk yet.
    const record = { ...layer, manifestDigest, bootId: this.#bootId, isDurable: false };
    this.#table.put(id, record);
    this.#layers.set(id, record);
    this.#damaged.delete(id);
    return record;
  }

  /** Forgets layers and removes their files in the background. */
  remove(layers: readonly LayerRecord[]): void {
    for (const layer of layers) {
      this.#drop(layer);
      this.removeBlob(layer.digest);
      for (const name of [layer.directory, ...(layer.formerDirectories ?? [])]) {
        const directory = join(this.#directory, name);
        if (!existsSync(directory)) continue;
        // Renamed at once, so that the name is free when the layer is pulled again.
        const away = join(this.#directory, `${temporaryPrefix}${process.pid}-${(this.#sequence += 1)}`);
        renameSync(directory, away);
        this.discard(away);
      }
    }
  }

  /** Removes a temporary directory. */
  async removeTemporary(path: string): Promise<void> {
    await removeTreeAsync(path);
  }

  /** Removes a temporary directory in the background. */
  discard(path: string): void {
    this.#inBackground(removeTreeAsync(path), `remove ${path}`);
  }

  /** Syncs new layers to the disk in the background, and then records that they are durable. */
  syncSoon(): void {
    if (this.#syncing !== undefined) return;
    this.#syncing = this.#sync().finally(() => (this.#syncing = undefined));
    this.#inBackground(this.#syncing, "sync layers");
  }

  /** Waits for everything that runs in the background. */
  async close(): Promise<void> {
    while (this.#background.size > 0) await Promise.all(this.#background);
  }

  async #sync(): Promise<void> {
    for (let waiting = this.#notDurable(); waiting.length > 0; waiting = this.#notDurable()) {
      await using directory = await open(this.#directory, "r");
      await syncfs(directory.fd);
      for (const { id } of waiting) {
        const layer = this.#layers.get(id);
        if (layer === undefined) continue;
        this.#layers.set(id, { ...layer, isDurable: true });
        this.#table.put(id, { ...layer, isDurable: true });
      }
    }
  }

  #notDurable(): LayerRecord[] {
    return [...this.#layers.values()].filter((layer) => !layer.isDurable);
  }

  async #recover(): Promise<void> {
    const { records, unreadable } = this.#table.readAll();
    const names = new Set(await readdir(this.#directory));
    for (const row of unreadable) {
      const layer = readUnreadableLayer(row);
      this.#unreadable.set(row.id, layer);
      this.#log.error(
        { layer: row.id, directory: layer.directory, reason: row.reason },
        "the record of a layer cannot be read: it is left unchanged, and images with this layer count as absent until they are pulled; see docs/upgrading.md",
      );
    }
    for (const layer of records.values()) {
      const why = this.#whyUnusable(layer, names);
      if (why === undefined) {
        this.#layers.set(layer.id, layer);
        this.#count(layer, 1);
        this.#readMark(layer);
      } else {
        this.#log.warn({ layer: layer.id }, `dropped a layer: ${why}`);
        this.#table.delete(layer.id);
      }
    }
    await this.#removeUnknown(names);
    await this.#removeUnknownBlobs();
    if (this.#notDurable().length > 0) this.syncSoon();
  }

  #whyUnusable(layer: LayerRecord, names: ReadonlySet<string>): string | undefined {
    if (!names.has(layer.directory) || !existsSync(this.diffDirectory(layer))) return "its directory is missing";
    return layer.isDurable || layer.bootId === this.#bootId
      ? undefined
      : "the machine stopped before it was on the disk";
  }

  /** The mark is a file, so that it can be set while a daemon is running: only the daemon may write to its database. */
  #readMark(layer: LayerRecord): void {
    if (!existsSync(join(this.directoryOf(layer), layerFiles.damageMark))) {
      this.#damaged.delete(layer.id);
    } else if (!this.#damaged.has(layer.id)) {
      this.#damaged.add(layer.id);
      this.#log.warn(
        { layer: layer.id },
        "a layer is marked as damaged: its images count as absent until they are pulled, which fetches only this layer",
      );
    }
  }

  #forget(layer: LayerRecord, why: string): void {
    this.#log.warn({ layer: layer.id }, `dropped a layer: ${why}`);
    this.remove([layer]);
  }

  /** Removes a compressed layer, if it was kept and no layer is made from it; several may be made from the same one. */
  removeBlob(digest: string): void {
    const isNeeded =
      [...this.#layers.values()].some((layer) => layer.digest === digest) ||
      [...this.#unreadable.values()].some((layer) => (layer.digest ?? digest) === digest);
    if (!isNeeded) rmSync(join(this.#blobsDirectory, digest.replace(":", "/")), { force: true });
  }

  /** Removes compressed layers that were kept by pulls which ended before their layers were committed. */
  async #removeUnknownBlobs(): Promise<void> {
    if (!existsSync(this.#blobsDirectory)) return;
    for (const algorithm of await readdir(this.#blobsDirectory)) {
      for (const name of await readdir(join(this.#blobsDirectory, algorithm))) this.removeBlob(`${algorithm}:${name}`);
    }
  }

  get #blobsDirectory(): string {
    return join(this.#directory, "../blobs");
  }

  #drop(layer: LayerRecord): void {
    this.#table.delete(layer.id);
    this.#layers.delete(layer.id);
    this.#damaged.delete(layer.id);
    this.#count(layer, -1);
  }

  async #removeUnknown(names: ReadonlySet<string>): Promise<void> {
    const known = this.#knownDirectories();
    // Otherwise any other directory may belong to an unreadable record.
    const areAllKnown = [...this.#unreadable.values()].every(({ directory }) => directory !== undefined);
    for (const name of names) {
      const isTemporary = name.startsWith(temporaryPrefix);
      if (known.has(name) || !(isTemporary || areAllKnown)) continue;
      // Renamed first, so that the layer can be pulled again while the files are being removed.
      const away = isTemporary ? name : `${temporaryPrefix}old-${name}`;
      if (away !== name) await rename(join(this.#directory, name), join(this.#directory, away));
      this.#log.info({ directory: name }, "removing a layer directory without a record");
      this.discard(join(this.#directory, away));
    }
  }

  #unreadableOf(id: string): UnreadableLayer | undefined {
    return [...this.#unreadable.values()].find((layer) => layer.id === id);
  }

  /** The names of directories that belong to records. */
  #knownDirectories(): Set<string> {
    const ofRecords = [...this.#layers.values()].flatMap((layer) => [
      layer.directory,
      ...(layer.formerDirectories ?? []),
    ]);
    const ofUnreadable = [...this.#unreadable.values()].flatMap(({ directory }) => directory ?? []);
    return new Set([emptyDirectory, ...ofRecords, ...ofUnreadable]);
  }

  /**
   * The directories that may belong to an unreadable record: its own, or if that is not known, all without a record.
   */
  async #directoriesOf({ directory }: UnreadableLayer): Promise<string[]> {
    if (directory !== undefined) return [directory];
    const known = this.#knownDirectories();
    return (await readdir(this.#directory)).filter((name) => !name.startsWith(temporaryPrefix) && !known.has(name));
  }

  /** The first digits of the chain id. Short, because on old kernels all mount options must fit into one page. */
  #freeName(id: string): string {
    const digits = id.slice(id.indexOf(":") + 1);
    const known = this.#knownDirectories();
    const isTaken = (name: string) => known.has(name) || existsSync(join(this.#directory, name));
    let length = 12;
    while (isTaken(digits.slice(0, length))) length += 1;
    return digits.slice(0, length);
  }

  #count(layer: LayerRecord, sign: 1 | -1): void {
    this.#usage = {
      bytes: this.#usage.bytes + sign * layer.sizeBytes,
      inodes: this.#usage.inodes + sign * layer.inodes,
    };
  }

  #inBackground(work: Promise<void>, what: string): void {
    const run = work
      .catch((error: unknown) => this.#log.error({ error: messageOf(error) }, what))
      .finally(() => this.#background.delete(run));
    this.#background.add(run);
  }
}
