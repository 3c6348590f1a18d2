import { Code, StatusError } from "@keelson/base/status.ts";
import { type PaxRecords, parsePax, parsePaxNumber, parsePaxTime } from "./pax.ts";
import { quoteName, type TarEntry, type TarEntryKind, type TarSink } from "./tar-entry.ts";
import { blockBytes, isZeroBlock, readHeader, type TarHeader } from "./tar-header.ts";

/** The longest extended header or long name that is kept in memory. */
const metadataLimitBytes = 1024 * 1024;

/** Where the reader is. `left` counts down, in bytes. */
type State =
  | { is: "header" }
  | { is: "content"; left: number; padding: number }
  | { is: "padding"; left: number }
  | { is: "metadata"; type: string; bytes: Buffer; filled: number; padding: number }
  | { is: "ended" };

/**
 * Parses a tar archive from chunks of any size and passes each entry to the sink. Supports ustar, GNU's long names and
 * base-256 numbers, and pax extended and global headers with binary xattrs. Whatever the archive contains, it needs no
 * more memory than for one block and one extended header.
 *
 * Throws InvalidArgument for what no valid archive contains, DataLoss for a damaged or truncated one, Unimplemented for
 * sparse files.
 */
export class TarReader {
  readonly #sink: TarSink;
  #state: State = { is: "header" };
  /** The part of a header block that was in the last chunk. */
  readonly #partial = Buffer.alloc(blockBytes);
  #partialBytes = 0;
  readonly #global: PaxRecords = new Map();
  #pax: PaxRecords = new Map();
  #longName: string | undefined;
  #longLink: string | undefined;

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** Takes the next bytes of the archive. */
  write(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) at = this.#step(chunk, at);
  }

  /** To be called after the last bytes. Throws DataLoss when the archive is incomplete. */
  end(): void {
    const cut =
      this.#state.is === "content" ||
      this.#state.is === "metadata" ||
      this.#partialBytes > 0 ||
      this.#pax.size > 0 ||
      this.#longName !== undefined;
    if (cut) throw new StatusError(Code.DataLoss, "tar archive is cut short");
  }

  /** Takes what the current state can use, from `at` on, and returns the position after it. */
  #step(chunk: Buffer, at: number): number {
    switch (this.#state.is) {
      case "header":
        return this.#header(chunk, at);
      case "content":
        return this.#content(this.#state, chunk, at);
      case "padding":
        return this.#padding(this.#state, chunk, at);
      case "metadata":
        return this.#metadata(this.#state, chunk, at);
      case "ended":
        return chunk.length;
    }
  }

  #header(chunk: Buffer, at: number): number {
    if (this.#partialBytes === 0 && chunk.length - at >= blockBytes) {
      this.#block(chunk, at);
      return at + blockBytes;
    }
    const copied = chunk.copy(this.#partial, this.#partialBytes, at, at + blockBytes - this.#partialBytes);
    this.#partialBytes += copied;
    if (this.#partialBytes === blockBytes) {
      this.#partialBytes = 0;
      this.#block(this.#partial, 0);
    }
    return at + copied;
  }

  #content(state: State & { is: "content" }, chunk: Buffer, at: number): number {
    const length = Math.min(state.left, chunk.length - at);
    this.#sink.content(chunk.subarray(at, at + length));
    state.left -= length;
    if (state.left === 0) {
      this.#sink.entryEnd();
      this.#skip(state.padding);
    }
    return at + length;
  }

  #padding(state: State & { is: "padding" }, chunk: Buffer, at: number): number {
    const length = Math.min(state.left, chunk.length - at);
    state.left -= length;
    if (state.left === 0) this.#state = { is: "header" };
    return at + length;
  }

  #metadata(state: State & { is: "metadata" }, chunk: Buffer, at: number): number {
    const copied = chunk.copy(state.bytes, state.filled, at);
    state.filled += copied;
    if (state.filled === state.bytes.length) {
      this.#takeMetadata(state.type, state.bytes);
      this.#skip(state.padding);
    }
    return at + copied;
  }

  #skip(padding: number): void {
    this.#state = padding === 0 ? { is: "header" } : { is: "padding", left: padding };
  }

  #block(block: Buffer, at: number): void {
    if (isZeroBlock(block, at)) {
      // What follows only fills the archive's last record; the layer's digest covers it.
      this.#state = { is: "ended" };
      return;
    }
    const header = readHeader(block, at);
    if (["x", "g", "L", "K"].includes(header.type)) this.#beginMetadata(header);
    else this.#beginEntry(header);
  }

  #beginMetadata(header: TarHeader): void {
    if (header.sizeBytes < 0 || header.sizeBytes > metadataLimitBytes) {
      throw new StatusError(
        Code.InvalidArgument,
        `tar extended header has ${header.sizeBytes} bytes, the limit is ${metadataLimitBytes}`,
      );
    }
    if (header.sizeBytes === 0) return;
    this.#state = {
      is: "metadata",
      type: header.type,
      bytes: Buffer.alloc(header.sizeBytes),
      filled: 0,
      padding: paddingOf(header.sizeBytes),
    };
  }

  #takeMetadata(type: string, bytes: Buffer): void {
    const zero = bytes.indexOf(0);
    const text = () => bytes.toString("latin1", 0, zero === -1 ? bytes.length : zero);
    if (type === "L") this.#longName = text();
    else if (type === "K") this.#longLink = text();
    else if (type === "x") this.#pax = parsePax(bytes);
    else for (const [key, value] of parsePax(bytes)) this.#global.set(key, value);
  }

  #beginEntry(header: TarHeader): void {
    const entry = this.#entry(header);
    this.#pax = new Map();
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#sink.entry(entry);
    if (entry.sizeBytes > 0) {
      this.#state = { is: "content", left: entry.sizeBytes, padding: paddingOf(entry.sizeBytes) };
    } else {
      this.#sink.entryEnd();
      this.#state = { is: "header" };
    }
  }

  /** The header, with the values of extended headers, which take precedence (POSIX). */
  #entry(header: TarHeader): TarEntry {
    const name = this.#record("path") ?? this.#longName ?? header.name;
    this.#refuseSparse(header.type, name);
    const kind = kindOf(header.type, name);
    const size = this.#numberRecord("size") ?? header.sizeBytes;
    const time = this.#record("mtime");
    const { sec, nsec } = time === undefined ? { sec: header.mtimeSec, nsec: 0 } : parsePaxTime(time);
    const isLink = kind === "hardlink" || kind === "symlink";
    const entry: TarEntry = {
      kind,
      name,
      linkName: isLink ? (this.#record("linkpath") ?? this.#longLink ?? header.linkName) : "",
      mode: header.mode & 0o7777,
      uid: this.#numberRecord("uid") ?? header.uid,
      gid: this.#numberRecord("gid") ?? header.gid,
      sizeBytes: kind === "file" ? size : 0,
      mtimeSec: sec,
      mtimeNsec: nsec,
      deviceMajor: header.deviceMajor,
      deviceMinor: header.deviceMinor,
      xattrs: this.#xattrs(),
    };
    checkEntry(entry);
    return entry;
  }

  #record(key: string): string | undefined {
    return this.#pax.get(key) ?? this.#global.get(key);
  }

  #numberRecord(key: string): number | undefined {
    const value = this.#record(key);
    return value === undefined ? undefined : parsePaxNumber(value);
  }

  #xattrs(): Map<string, Buffer> {
    if (this.#pax.size === 0 && this.#global.size === 0) return none;
    const prefix = "SCHILY.xattr.";
    const found = new Map<string, Buffer>();
    for (const records of [this.#global, this.#pax]) {
      for (const [key, value] of records)
        if (key.startsWith(prefix)) found.set(key.slice(prefix.length), Buffer.from(value, "latin1"));
    }
    return found;
  }

  #refuseSparse(type: string, name: string): void {
    const isSparse = type === "S" || [...this.#pax.keys()].some((key) => key.startsWith("GNU.sparse."));
    if (isSparse)
      throw new StatusError(
        Code.Unimplemented,
        `tar entry ${quoteName(name)} is a GNU sparse file, which is not supported; build the layer without --sparse`,
      );
  }
}

const none: Map<string, Buffer> = new Map();

function kindOf(type: string, name: string): TarEntryKind {
  switch (type) {
    case "0":
    case "\0":
    case "7":
      // In V7 archives only the name shows that an entry is a directory.
      return type !== "7" && name.endsWith("/") ? "directory" : "file";
    case "1":
      return "hardlink";
    case "2":
      return "symlink";
    case "3":
      return "character device";
    case "4":
      return "block device";
    case "5":
      return "directory";
    case "6":
      return "fifo";
    default:
      throw new StatusError(
        Code.InvalidArgument,
        `tar entry ${quoteName(name)} has the type ${JSON.stringify(type)}, which a layer cannot have`,
      );
  }
}

function checkEntry(entry: TarEntry): void {
  const wrong = (what: string) => new StatusError(Code.InvalidArgument, `tar entry ${quoteName(entry.name)} ${what}`);
  if (entry.name.includes("\0") || entry.linkName.includes("\0")) throw wrong("has a zero byte in its name");
  if (entry.sizeBytes < 0) throw wrong("has a negative size");
  for (const id of [entry.uid, entry.gid])
    if (id < 0 || id >= 0xffff_ffff) throw wrong(`has the owner ${id}, which is not possible on Linux`);
  if (entry.deviceMajor < 0 || entry.deviceMajor > 0xfff || entry.deviceMinor < 0 || entry.deviceMinor > 0xf_ffff)
    throw wrong("has a device number that is not possible on Linux");
  // ext4 has 34 bits; a file system may refuse larger values, or wrap them.
  if (Math.abs(entry.mtimeSec) > 2 ** 40) throw wrong("has a time that no file system can store");
}

function paddingOf(sizeBytes: number): number {
  return (blockBytes - (sizeBytes % blockBytes)) % blockBytes;
}
