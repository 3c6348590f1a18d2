import { closeSync, constants, fstatSync, ftruncateSync, openSync, readdirSync, statSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { isErrno } from "@keelson/linux/errno.ts";
import { makeDirectories } from "@keelson/linux/make-directories.ts";

/** How many files of a log's directory are looked at for one that was renamed. */
const maxFilesLookedAt = 1000;

/** A container's log, which a kubelet renames and has opened anew. */
export class LogFile implements Disposable {
  readonly #path: string;
  #fd: number;

  /** Throws what open(2) says. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openLog(path);
  }

  /** Inode and size. */
  get place(): { readonly ino: bigint; readonly size: bigint } {
    const { ino, size } = fstatSync(this.#fd, { bigint: true });
    return { ino, size };
  }

  /** Appends all of it; on an error, such as a full disk, the log is as it was before. */
  append(bytes: Buffer): void {
    const { size } = this.place;
    try {
      for (let at = 0; at < bytes.length;) at += writeSync(this.#fd, bytes, at);
    } catch (error) {
      ftruncateSync(this.#fd, Number(size));
      throw error;
    }
  }

  /** Goes on in the file that is at the path now, or in a new one; false when that is the same. */
  reopen(): boolean {
    if (statSync(this.#path, { bigint: true, throwIfNoEntry: false })?.ino === this.place.ino) return false;
    const fd = openLog(this.#path);
    closeSync(this.#fd);
    this.#fd = fd;
    return true;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

function openLog(path: string): number {
  makeDirectories(dirname(path), 0o755);
  return openSync(path, constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT, 0o640);
}

/** The file with this inode that is or was at a log's path: a kubelet renames it within the directory. */
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

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}
