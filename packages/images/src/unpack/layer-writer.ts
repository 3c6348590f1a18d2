import fs from "node:fs";
import { crc32 } from "node:zlib";
import { Code, StatusError } from "@keelson/base/status.ts";
import { lsetxattr, mknod } from "@keelson/linux/file.ts";
import { removeTree } from "@keelson/linux/tree.ts";
import { nodePath } from "../binary-path.ts";
import { type DirectoryAttributes, setDirectoryAttributes, setTimes, setXattrs } from "./attributes.ts";
import { baseOf, entryPath, parentOf } from "./entry-path.ts";
import { checkEntries, checkPathBytes, type LayerLimits } from "./layer-limits.ts";
import { errnoOf, inRoot, lstatInRoot } from "./root-path.ts";
import { quoteName, type TarEntry, type TarSink } from "./tar-entry.ts";

/** The result of unpacking a layer. */
export interface UnpackedLayer {
  /** What its files use on disk, in whole blocks. */
  sizeBytes: number;
  inodes: number;
  /**
   * Directories that the layer uses without having an entry for them, as binary strings, parents first ("" is the
   * layer's own). They get their owner, mode and times from the layers below.
   */
  implicitDirectories: string[];
  /** The layer hides everything below it. */
  isOpaque: boolean;
  /** The digest of the manifest that was written beside it (layer-manifest.ts). */
  manifestDigest: string;
}

const { O_CREAT, O_EXCL, O_WRONLY, O_NOFOLLOW, S_IFCHR, S_IFBLK, S_IFIFO } = fs.constants;
const createFlags = O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW;
const fileBlockBytes = 4096;

/** Directories are kept in memory until the end; this limits the bytes of their names. */
const directoryNamesLimitBytes = 64 * 1024 * 1024;

/** How many files' checksums are kept for the manifest; further files will be read again. */
const checksumsLimit = 250_000;

/** As many as Linux follows: path_resolution(7). */
const linksLimit = 40;

const whiteoutPrefix = ".wh.";
const opaqueMarker = ".wh..wh..opq";
/** Other files of AUFS, for which this format was made. */
const aufsPrefix = ".wh..wh.";

/**
 * Writes the entries of a layer's tar below "/", with whiteouts in overlayfs' form (image-spec layer.md,
 * Documentation/filesystems/overlayfs.rst).
 *
 * Must run on a worker thread that has entered the layer's directory as its root: then symlinks in the image can be
 * followed like any others, as they cannot lead out of it. `umask` is the process's.
 */
export class LayerWriter implements TarSink {
  readonly #umask: number;
  readonly #limits: LayerLimits;
  /** Directories that are known to exist, so that the parents need not be looked up for every file. */
  readonly #present = new Set<string>([""]);
  /** Symlinks that are known to lead to a directory. */
  readonly #aliases = new Set<string>();
  /** Set at the end: creating files in a directory changes its times, and they would inherit setgid. */
  readonly #directories = new Map<string, DirectoryAttributes>();
  #directoryNamesBytes = 0;
  readonly #implicit = new Set<string>([""]);
  #entries = 0;
  #blocks = 1;
  #inodes = 1;
  #isOpaque = false;
  /** The file that is being written; -1: none. */
  #fd = -1;
  #entry: TarEntry | undefined;
  #path = "";
  #checksum = 0;
  readonly #checksums = new Map<string, number>();
  /** A path went through a symlink of this layer, so names in the tar may differ from those on disk. */
  #hasAliases = false;
  #hasXattrs = false;

  constructor(umask: number, limits: LayerLimits) {
    this.#umask = umask;
    this.#limits = limits;
  }

  entry(entry: TarEntry): void {
    this.#entries += 1;
    checkEntries(this.#limits, this.#entries);
    this.#entry = entry;
    this.#path = entryPath(entry.name);
    if (entry.xattrs.size > 0) this.#hasXattrs = true;
    this.#naming(() => {
      checkPathBytes(this.#limits, this.#path.length);
      this.#make(this.#path, entry);
    });
  }

  content(bytes: Buffer): void {
    if (this.#fd === -1) return;
    this.#checksum = crc32(bytes, this.#checksum);
    this.#naming(() => {
      let written = 0;
      while (written < bytes.length) written += fs.writeSync(this.#fd, bytes, written);
    });
  }

  entryEnd(): void {
    const entry = this.#entry;
    if (this.#fd === -1 || entry === undefined) return;
    this.#naming(() => this.#finishFile(this.#fd, entry));
    this.#closeFile();
    if (this.#checksums.size < checksumsLimit) this.#checksums.set(this.#path, this.#checksum);
    else this.#checksums.delete(this.#path);
    this.#blocks += Math.ceil(entry.sizeBytes / fileBlockBytes);
  }

  /** The CRC-32 of a file that was written, by its absolute path; undefined when it is not known. */
  checksumOf(path: string): number | undefined {
    return this.#hasAliases ? undefined : this.#checksums.get(path.slice(1));
  }

  /** Whether anything that was written may have xattrs. */
  get hasXattrs(): boolean {
    return this.#hasXattrs;
  }

  /** Sets the owners, modes and times of directories. To be called at the end of the archive. */
  finish(): Omit<UnpackedLayer, "manifestDigest"> {
    for (const [path, attributes] of this.#directories) this.#naming(() => setDirectoryAttributes(path, attributes));
    return {
      sizeBytes: this.#blocks * fileBlockBytes,
      inodes: this.#inodes,
      implicitDirectories: [...this.#implicit].sort(),
      isOpaque: this.#isOpaque,
    };
  }

  /** Closes a file that is still open after an error. */
  [Symbol.dispose](): void {
    this.#closeFile();
  }

  #closeFile(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd !== -1) fs.closeSync(fd);
  }

  #make(path: string, entry: TarEntry): void {
    if (path === "") return this.#makeRoot(entry);
    const base = baseOf(path);
    this.#needDirectory(parentOf(path));
    if (base.startsWith(whiteoutPrefix)) return this.#makeWhiteout(path, base);
    switch (entry.kind) {
      case "file":
        this.#fd = this.#placing(path, (at) => fs.openSync(at, createFlags, entry.mode & 0o777));
        this.#checksum = 0;
        return;
      case "directory":
        return this.#makeDirectory(path, entry);
      case "hardlink":
        return this.#makeHardlink(path, entryPath(entry.linkName));
      case "symlink":
        this.#placing(path, (at) => fs.symlinkSync(nodePath(entry.linkName), at));
        return this.#finishNode(path, entry);
      case "character device":
        return this.#makeNode(path, entry, S_IFCHR);
      case "block device":
        return this.#makeNode(path, entry, S_IFBLK);
      case "fifo":
        return this.#makeNode(path, entry, S_IFIFO);
    }
  }

  #makeRoot(entry: TarEntry): void {
    if (entry.kind !== "directory") throw new StatusError(Code.InvalidArgument, "it has no name");
    this.#keepDirectory("", entry);
  }

  #makeDirectory(path: string, entry: TarEntry): void {
    const found = this.#present.has(path) ? "directory" : this.#mkdir(path);
    if (found === "whiteout") this.#setOpaque(path);
    this.#keepDirectory(path, entry);
  }

  /** Makes a directory, unless it exists. Returns what was there before. */
  #mkdir(path: string): "nothing" | "directory" | "whiteout" {
    let found: "nothing" | "directory" | "whiteout" = "nothing";
    const at = inRoot(path);
    try {
      fs.mkdirSync(at, 0o755);
      this.#inodes += 1;
      this.#blocks += 1;
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
      const stat = fs.lstatSync(at);
      found = stat.isDirectory() ? "directory" : isWhiteout(stat) ? "whiteout" : "nothing";
      if (!stat.isDirectory()) {
        fs.unlinkSync(at);
        this.#aliases.clear();
        fs.mkdirSync(at, 0o755);
      }
    }
    this.#present.add(path);
    return found;
  }

  #keepDirectory(path: string, entry: TarEntry): void {
    if (!this.#directories.has(path)) this.#countDirectoryName(path);
    this.#implicit.delete(path);
    setXattrs(path, entry);
    const { mode, uid, gid, mtimeSec, mtimeNsec } = entry;
    this.#directories.set(path, { mode, uid, gid, mtimeSec, mtimeNsec });
  }

  /**
   * Makes the directories in a path that have had no entry yet. Symlinks are followed, as by tar; if their target is
   * only in a layer below, it is made here too.
   */
  #needDirectory(path: string, links = 0): void {
    if (this.#present.has(path) || this.#aliases.has(path)) return;
    this.#needDirectory(parentOf(path), links);
    const stat = lstatInRoot(path);
    if (stat?.isDirectory() === true) this.#present.add(path);
    else if (stat === undefined || isWhiteout(stat)) this.#makeImplicit(path);
    else if (stat.isSymbolicLink()) this.#followLink(path, links);
    else throw new StatusError(Code.InvalidArgument, `${quoteName(path)} is not a directory`);
  }

  #makeImplicit(path: string): void {
    if (this.#mkdir(path) === "whiteout") this.#setOpaque(path);
    this.#implicit.add(path);
    this.#countDirectoryName(path);
  }

  #followLink(path: string, links: number): void {
    if (links >= linksLimit)
      throw new StatusError(
        Code.InvalidArgument,
        `${quoteName(path)} is a symlink that leads through more than ${linksLimit} other symlinks`,
      );
    if (fs.statSync(inRoot(path), { throwIfNoEntry: false })?.isDirectory() !== true) {
      const target = fs.readlinkSync(inRoot(path), "buffer").toString("latin1");
      this.#needDirectory(resolveLink(path, target), links + 1);
    }
    this.#aliases.add(path);
    this.#hasAliases = true;
  }

  #countDirectoryName(path: string): void {
    this.#directoryNamesBytes += path.length;
    if (this.#directoryNamesBytes > directoryNamesLimitBytes)
      throw new StatusError(Code.ResourceExhausted, "the layer has too many directories");
  }

  #makeHardlink(path: string, target: string): void {
    if (path === target) return;
    try {
      this.#placing(path, (at) => fs.linkSync(inRoot(target), at));
    } catch (error) {
      if (!["ENOENT", "ENOTDIR", "EPERM"].includes(errnoOf(error))) throw error;
      throw new StatusError(
        Code.InvalidArgument,
        `it is a hard link to ${quoteName(target)}, which is not a file in the layer`,
        error,
      );
    }
    this.#inodes -= 1; // #placing counted a new one.
    const checksum = this.#checksums.get(target);
    if (checksum === undefined) this.#checksums.delete(path);
    else this.#checksums.set(path, checksum);
  }

  #makeNode(path: string, entry: TarEntry, type: number): void {
    this.#placing(path, (at) => mknod(at, type | (entry.mode & 0o777), entry.deviceMajor, entry.deviceMinor));
    this.#finishNode(path, entry);
  }

  #makeWhiteout(path: string, base: string): void {
    if (base === opaqueMarker) return this.#setOpaque(parentOf(path));
    if (base.startsWith(aufsPrefix)) return;
    const hidden = base.slice(whiteoutPrefix.length);
    if (hidden === "" || hidden === "." || hidden === "..")
      throw new StatusError(Code.InvalidArgument, "it is a whiteout for an impossible name");
    const parent = parentOf(path);
    const hiddenPath = parent === "" ? hidden : `${parent}/${hidden}`;
    const stat = lstatInRoot(hiddenPath);
    // A whiteout hides what is in the layers below. What this layer itself has there is kept.
    if (stat?.isDirectory() === true) return this.#setOpaque(hiddenPath);
    if (stat !== undefined) return;
    mknod(inRoot(hiddenPath), S_IFCHR, 0, 0);
    this.#inodes += 1;
  }

  #setOpaque(path: string): void {
    if (path === "") this.#isOpaque = true;
    else lsetxattr(inRoot(path), "trusted.overlay.opaque", Buffer.from("y"));
    this.#hasXattrs = true;
  }

  /** Runs `make` with the path; if something is in the way, removes it and runs `make` again. */
  #placing<T>(path: string, make: (at: string | Buffer) => T): T {
    const at = inRoot(path);
    this.#inodes += 1;
    try {
      return make(at);
    } catch (error) {
      if (errnoOf(error) !== "EEXIST") throw error;
    }
    this.#inodes -= 1;
    this.#aliases.clear();
    if (fs.lstatSync(at).isDirectory()) {
      removeTree(at);
      // Everything below it is gone too.
      this.#present.clear();
      this.#present.add("");
      this.#directories.delete(path);
    } else {
      fs.unlinkSync(at);
    }
    return make(at);
  }

  #finishFile(fd: number, entry: TarEntry): void {
    // As it was made by root in a directory without setgid, it belongs to 0:0 already.
    if (entry.uid !== 0 || entry.gid !== 0) fs.fchownSync(fd, entry.uid, entry.gid);
    // After chown, which would clear setuid and security.capability.
    if ((entry.mode & (0o7000 | this.#umask)) !== 0) fs.fchmodSync(fd, entry.mode);
    if (entry.xattrs.size > 0) setXattrs(this.#path, entry);
    if (entry.mtimeNsec === 0) fs.futimesSync(fd, entry.mtimeSec, entry.mtimeSec);
    else setTimes(this.#path, entry);
  }

  #finishNode(path: string, entry: TarEntry): void {
    const at = inRoot(path);
    if (entry.uid !== 0 || entry.gid !== 0) fs.lchownSync(at, entry.uid, entry.gid);
    if (entry.kind !== "symlink" && (entry.mode & (0o7000 | this.#umask)) !== 0) fs.chmodSync(at, entry.mode);
    setXattrs(path, entry);
    setTimes(path, entry);
  }

  /** Runs a step so that its error names the entry and has the right code. */
  #naming(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#closeFile();
      const name = `tar entry ${quoteName(this.#entry?.name ?? "")}`;
      if (error instanceof StatusError) throw new StatusError(error.code, `${name}: ${error.message}`, error);
      throw new StatusError(codeOfErrno(errnoOf(error)), `${name}: ${(error as Error).message}`, error);
    }
  }
}

/** Where a symlink leads inside the layer, judged by its text: `..` stops at the layer's directory, as in a chroot. */
function resolveLink(path: string, target: string): string {
  const parts = target.startsWith("/") ? [] : parentOf(path).split("/");
  for (const part of target.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  return parts.filter((part) => part !== "").join("/");
}

function isWhiteout(stat: fs.Stats): boolean {
  return stat.isCharacterDevice() && stat.rdev === 0;
}

function codeOfErrno(errno: string): Code {
  // Below an empty directory only the archive's content can cause these.
  if (["ENAMETOOLONG", "ENOTDIR", "EISDIR", "ELOOP", "EEXIST", "EINVAL", "ENOENT", "EMLINK"].includes(errno))
    return Code.InvalidArgument;
  return Code.Internal;
}
