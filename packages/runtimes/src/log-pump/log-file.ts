import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  openSync,
  readdirSync,
  readSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { isErrno } from "@keelson/linux/errno.ts";
import { openLogFile } from "../open-log-file.ts";

/** How many files of a log's directory are looked at to find one that was renamed. */
const maxFilesLookedAt = 1000;

/** How much of a log's end is read to find its last entry, in bytes: several entries of the longest kind. */
const tailBytes = 64 * 1024;

/** Which file a log is, by inode, and how long it is. */
export interface LogPlace {
  readonly ino: bigint;
  readonly size: bigint;
}

/** A container's log, which a kubelet renames now and then before it has it reopened. */
export class LogFile implements Disposable {
  readonly #path: string;
  #fd: number;

  /** Throws what open(2) says. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openLogFile(path);
  }

  get place(): LogPlace {
    const { ino, size } = fstatSync(this.#fd, { bigint: true });
    return { ino, size };
  }

  /** Appends all of it. After an error, such as a full disk, the log is as it was before. */
  append(bytes: Buffer): void {
    const { size } = this.place;
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#fd, bytes, at);
    } catch (error) {
      ftruncateSync(this.#fd, Number(size));
      throw error;
    }
  }

  /** Goes on in the file that is at the path now, or in a new one; false when it is still the same. */
  reopen(): boolean {
    if (statSync(this.#path, { bigint: true, throwIfNoEntry: false })?.ino === this.place.ino) return false;
    const fd = openLogFile(this.#path);
    closeSync(this.#fd);
    this.#fd = fd;
    return true;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** The file with this inode that is or was at a log's path: a kubelet renames it within its directory. */
export function findLog(path: string, ino: bigint): { readonly path: string; readonly size: bigint } | undefined {
  const dir = dirname(path);
  for (const candidate of [
    path,
    ...namesIn(dir)
      .slice(0, maxFilesLookedAt)
      .map((name) => join(dir, name)),
  ]) {
    const stat = statSync(candidate, { bigint: true, throwIfNoEntry: false });
    if (stat?.ino === ino) return { path: candidate, size: stat.size };
  }
  return undefined;
}

/**
 * When the last entry of a log was written, in nanoseconds since 1970; undefined when there is none. When the file at the
 * path has none yet, the one that a kubelet renamed last is looked at.
 */
export function lastEntryNs(path: string): bigint | undefined {
  return lastEntryIn(path) ?? lastEntryIn(lastRenamed(path));
}

/** The path of the newest file that a kubelet made of a log by renaming it; undefined when there is none. */
function lastRenamed(path: string): string | undefined {
  const prefix = `${basename(path)}.`;
  return namesIn(dirname(path))
    .filter((name) => name.startsWith(prefix) && !/\.(gz|tmp)$/.test(name))
    .slice(0, maxFilesLookedAt)
    .map((name) => join(dirname(path), name))
    .map((path) => ({ path, writtenNs: statSync(path, { bigint: true, throwIfNoEntry: false })?.mtimeNs ?? 0n }))
    .reduce<{ path?: string; writtenNs: bigint }>((a, b) => (b.writtenNs > a.writtenNs ? b : a), { writtenNs: 0n })
    .path;
}

function lastEntryIn(path: string | undefined): bigint | undefined {
  const lines = path === undefined ? [] : tailOf(path).split("\n");
  // What follows the last newline is not a whole entry.
  for (const line of lines.slice(0, -1).reverse()) {
    const [, second, fraction] = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z (?:stdout|stderr) [PF] /.exec(line) ?? [];
    const ms = second === undefined ? Number.NaN : Date.parse(`${second}Z`);
    if (!Number.isNaN(ms)) return BigInt(ms) * 1_000_000n + BigInt(fraction!);
  }
  return undefined;
}

/** The end of a regular file; "" when there is no such file. */
function tailOf(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return "";
    throw error;
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) return "";
    const bytes = Buffer.alloc(Math.min(stat.size, tailBytes));
    return bytes.toString("latin1", 0, readSync(fd, bytes, 0, bytes.length, stat.size - bytes.length));
  } finally {
    closeSync(fd);
  }
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}
