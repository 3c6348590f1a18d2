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

/** What is being made or removed; each start removes all of it. */
const temporaryPrefix = ".";
/** Lower directory of images without any layer: overlayfs wants one. */
const emptyDirectory = "empty";

/**
 * Unpacked layers on disk. A layer is made under a temporary name and gets its own by a rename, then
 * its record is written: what a crash leaves is a directory without a record, which the next start
 * removes.
 *
 * Files are not on the disk yet when a layer is committed, only in the kernel's memory, so that a
 * pull need not wait for the disk. A record says so until the file system was synced; after a power
 * cut the start drops layers that were not, and the image is pulled anew.
 */
export class LayerStore {
  readonly #directory: string;
  readonly #table: RecordTable<LayerRecord>;
  readonly #log: Log;
  readonly #bootId: string;
  readonly #layers = new Map<string, LayerRecord>();
  /** By the ids of their rows. They cannot be used; their records and files stay as they are. */
  readonly #unreadable = new Map<string, UnreadableLayer>();
  /** Marked by `keelsond check --repair`: they wait for being fetched again. */
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

  /** Opens `ROOT/layers`: removes what is not whole, and says in the log what that was. */
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

  /** Whether a layer is here and nothing is known to be wrong with it. */
  isWhole(id: string): boolean {
    return this.#layers.has(id) && !this.#damaged.has(id);
  }

  /** Whether there is a record of this layer which cannot be read. */
  isUnreadable(id: string): boolean {
    return this.#unreadableOf(id) !== undefined;
  }

  /** What can be told of layers whose records cannot be read. */
  unreadable(): Iterable<UnreadableLayer> {
    return this.#unreadable.values();
  }

  /**
   * Looks at layers on disk again: one that was removed by hand is forgotten, and what `keelsond check`
   * marked as damaged is known to be. Whether that is news.
   */
  lookAgain(ids: readonly string[]): boolean {
    let isNews = false;
    for (const id of ids) {
      const layer = this.#layers.get(id);
      if (layer === undefined) continue;
      const wasWhole = !this.#damaged.has(id);
      if (!existsSync(this.diffDirectory(layer))) this.#forget(layer, "its files are gone");
      else this.#readMark(layer);
      isNews ||= wasWhole !== this.isWhole(id);
    }
    return isNews;
  }

  all(): Iterable<LayerRecord> {
    return this.#layers.values();
  }

  /** Sum of all layers, from their records. */
  get usage(): { bytes: number; inodes: number } {
    return this.#usage;
  }

  get directory(): string {
    return this.#directory;
  }

  /** The layer's files. */
  diffDirectory(layer: LayerRecord): string {
    return join(this.directoryOf(layer), layerFiles.diff);
  }

  /** What `diff` and the manifest are in. */
  directoryOf(layer: LayerRecord): string {
    return join(this.#directory, layer.directory);
  }

  /**
   * Directories for an overlay mount, uppermost first, of layers given lowest first.
   * Throws FailedPrecondition when one is not here.
   */
  lowerDirectories(ids: readonly string[]): string[] {
    const directories: string[] = [];
    for (const id of ids.toReversed()) {
      const layer = this.#layers.get(id);
      if (layer === undefined || this.#damaged.has(id)) {
        const what =
          layer !== undefined ? "damaged" : this.isUnreadable(id) ? "here, but its record cannot be read" : "not here";
        throw new StatusError(Code.FailedPrecondition, `layer ${id} is ${what}; pull the image again`);
      }
      directories.push(this.diffDirectory(layer));
      // An opaque root directory: overlayfs does not look for this mark there.
      if (layer.isOpaque) break;
    }
    return directories.length === 0 ? [join(this.#directory, emptyDirectory)] : directories;
  }

  /** A new temporary directory; its files go into `diff` in it. */
  async makeTemporary(): Promise<string> {
    const path = join(this.#directory, `${temporaryPrefix}${process.pid}-${(this.#sequence += 1)}`);
    // Not `recursive`, which says ENOENT on a read-only file system.
    for (const each of [path, join(path, layerFiles.diff)]) await mkdir(each, { mode: 0o755 });
    return path;
  }

  /**
   * Gives a temporary directory its name and writes the record. A record of the same layer that cannot be read is set
   * aside as it is; containers may stand on its files, so these stay as long as the layer does.
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
    // Taken before the rename, so that no other layer takes the name meanwhile.
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

  /** Notes that a damaged layer was put right from a fresh one with this manifest. */
  repaired(id: string, manifestDigest: string): LayerRecord {
    const layer = this.#layers.get(id);
    if (layer === undefined)
      throw new StatusError(Code.Aborted, `layer ${id} was removed meanwhile; pull the image again`);
    // What was written for it is not on the disk yet.
    const record = { ...layer, manifestDigest, bootId: this.#bootId, isDurable: false };
    this.#table.put(id, record);
    this.#layers.set(id, record);
    this.#damaged.delete(id);
    return record;
  }

  /** Forgets layers, then removes their files in the background. */
  remove(layers: readonly LayerRecord[]): void {
    for (const layer of layers) {
      this.#drop(layer);
      this.removeBlob(layer.digest);
      for (const name of [layer.directory, ...(layer.formerDirectories ?? [])]) {
        const directory = join(this.#directory, name);
        if (!existsSync(directory)) continue;
        // At once, so that the name is free when the layer is pulled again.
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

  /** Writes new layers to the disk in the background and then says so in their records. */
  syncSoon(): void {
    if (this.#syncing !== undefined) return;
    this.#syncing = this.#sync().finally(() => (this.#syncing = undefined));
    this.#inBackground(this.#syncing, "sync layers");
  }

  /** Waits for what runs in the background. */
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
        "the record of a layer cannot be read: it is left as it is, and images with this layer count as absent until they are pulled; see docs/upgrading.md",
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
      : "the machine went down before it was on the disk";
  }

  /** The mark is a file, so that it can be made while a daemon runs, which alone writes its database. */
  #readMark(layer: LayerRecord): void {
    if (!existsSync(join(this.directoryOf(layer), layerFiles.damageMark))) {
      this.#damaged.delete(layer.id);
    } else if (!this.#damaged.has(layer.id)) {
      this.#damaged.add(layer.id);
      this.#log.warn(
        { layer: layer.id },
        "a layer is marked as damaged: its images count as absent until they are pulled, which fetches this layer only",
      );
    }
  }

  #forget(layer: LayerRecord, why: string): void {
    this.#log.warn({ layer: layer.id }, `dropped a layer: ${why}`);
    this.remove([layer]);
  }

  /** Removes a compressed layer that was kept, if any, unless a layer comes from it; several may come from the same one. */
  removeBlob(digest: string): void {
    const isNeeded =
      [...this.#layers.values()].some((layer) => layer.digest === digest) ||
      [...this.#unreadable.values()].some((layer) => (layer.digest ?? digest) === digest);
    if (!isNeeded) rmSync(join(this.#blobsDirectory, digest.replace(":", "/")), { force: true });
  }

  /** Kept by pulls that were cut off before they came to their layers. */
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
    const isKnown = this.#knownDirectories();
    // Any other directory may be its.
    const isAllTold = [...this.#unreadable.values()].every(({ directory }) => directory !== undefined);
    for (const name of names) {
      const isTemporary = name.startsWith(temporaryPrefix);
      if (isKnown.has(name) || !(isTemporary || isAllTold)) continue;
      // Under a temporary name the files may go slowly while the layer is pulled again.
      const away = isTemporary ? name : `${temporaryPrefix}old-${name}`;
      if (away !== name) await rename(join(this.#directory, name), join(this.#directory, away));
      this.#log.info({ directory: name }, "removing a layer directory without a record");
      this.discard(join(this.#directory, away));
    }
  }

  #unreadableOf(id: string): UnreadableLayer | undefined {
    return [...this.#unreadable.values()].find((layer) => layer.id === id);
  }

  /** Names of directories that records have. */
  #knownDirectories(): Set<string> {
    const ofRecords = [...this.#layers.values()].flatMap((layer) => [
      layer.directory,
      ...(layer.formerDirectories ?? []),
    ]);
    const ofUnreadable = [...this.#unreadable.values()].flatMap(({ directory }) => directory ?? []);
    return new Set([emptyDirectory, ...ofRecords, ...ofUnreadable]);
  }

  /** That of a layer whose record cannot be read; where nobody can tell, all that may be. */
  async #directoriesOf({ directory }: UnreadableLayer): Promise<string[]> {
    if (directory !== undefined) return [directory];
    const isKnown = this.#knownDirectories();
    return (await readdir(this.#directory)).filter((name) => !name.startsWith(temporaryPrefix) && !isKnown.has(name));
  }

  /** The first digits of the chain id: short, since mount options have to fit into a page on old kernels. */
  #freeName(id: string): string {
    const digits = id.slice(id.indexOf(":") + 1);
    const isKnown = this.#knownDirectories();
    const isTaken = (name: string) => isKnown.has(name) || existsSync(join(this.#directory, name));
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
