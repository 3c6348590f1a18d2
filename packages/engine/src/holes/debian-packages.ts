import { readFile, stat } from "node:fs/promises";
import { isErrno } from "@keelson/linux/errno.ts";

/** More than any real one has, in bytes. */
const maxFileBytes = 64 * 1024 * 1024;

/** What dpkg(1) has installed, read from its files, so that no process is needed. */
export class DebianPackages {
  readonly #dir: string;
  #reading: Promise<string | undefined> | undefined;

  /** @param dir where dpkg keeps its files: /var/lib/dpkg. */
  constructor(dir: string) {
    this.#dir = dir;
  }

  /** The version of a package that a program belongs to; undefined when it does not, and without dpkg. */
  async versionOf(packageName: string, path: string): Promise<string | undefined> {
    const files = (await contentOf(`${this.#dir}/info/${packageName}.list`))?.split("\n");
    // /bin may be a link to /usr/bin, and the list may name either.
    if (files === undefined || !files.some((file) => withoutUsr(file) === withoutUsr(path))) return undefined;
    // Those who ask at the same time share one reading of what may be megabytes.
    this.#reading ??= contentOf(`${this.#dir}/status`).finally(() => (this.#reading = undefined));
    const paragraph = paragraphOf(packageName, (await this.#reading) ?? "");
    if (paragraph === undefined || !/^Status: \S+ \S+ installed$/m.test(paragraph)) return undefined;
    return /^Version: (\d[\w.+~:-]{0,99})$/m.exec(paragraph)?.[1];
  }
}

function paragraphOf(packageName: string, status: string): string | undefined {
  const line = `Package: ${packageName}\n`;
  const start = status.startsWith(line) ? 0 : status.indexOf(`\n${line}`);
  if (start < 0) return undefined;
  const end = status.indexOf("\n\n", start + 1);
  return status.slice(start, end < 0 ? undefined : end);
}

function withoutUsr(path: string): string {
  return path.replace(/^\/usr\//, "/");
}

async function contentOf(file: string): Promise<string | undefined> {
  try {
    const { size } = await stat(file);
    return size > maxFileBytes ? undefined : await readFile(file, "utf8");
  } catch (error) {
    if (isErrno(error)) return undefined;
    throw error;
  }
}
