import { closeSync, constants, fstatSync, openSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { type CdiContainerEdits, type CdiSpec, parseCdiSpec } from "./spec.ts";

/** Files of this size have tens of thousands of devices; reading that much YAML takes some seconds. */
const maxFileBytes = { json: 8 * 1024 * 1024, yaml: 1024 * 1024 };

/** How many problems with other files an error lists. */
const maxProblemsListed = 5;

interface SpecFile {
  readonly path: string;
  readonly spec: CdiSpec;
}

interface CachedFile {
  /** From stat(2): differs for another file or other content. */
  readonly version: string;
  readonly result: SpecFile | StatusError;
}

/**
 * The devices of CDI specification files. The directories are read when a container asks for a device, so that a new
 * file needs no restart; files that have not changed are not read again.
 */
export class CdiSpecDirs {
  readonly #dirs: readonly string[];
  #cache = new Map<string, CachedFile>();

  /** @param dirs a later one takes precedence (SPEC.md); by default `/etc/cdi`, `/var/run/cdi`. */
  constructor(dirs: readonly string[]) {
    this.#dirs = dirs;
  }

  /**
   * What containers with these devices (`vendor.com/class=name`) get: the device's own edits, and once for each file
   * the edits that it has for all its devices. Throws FailedPrecondition for a device that no file defines, or two
   * files of the same directory; the message names the directories and the files that could not be read.
   */
  async editsFor(names: readonly string[]): Promise<CdiContainerEdits[]> {
    if (names.length === 0) return [];
    const byDir = await this.#read();
    const seen = new Set<SpecFile>();
    return names.flatMap((name) => {
      const { file, edits } = this.#find(name, byDir);
      const common = seen.has(file) ? undefined : file.spec.containerEdits;
      seen.add(file);
      return common === undefined ? [edits] : [common, edits];
    });
  }

  #find(
    name: string,
    byDir: readonly (readonly CachedFile["result"][])[],
  ): { file: SpecFile; edits: CdiContainerEdits } {
    const [kind, device] = name.split("=") as [string, string];
    for (const results of byDir.toReversed()) {
      const found = results.flatMap((file) => {
        const match =
          file instanceof StatusError || file.spec.kind !== kind
            ? undefined
            : file.spec.devices.find((d) => d.name === device);
        return match === undefined ? [] : [{ file: file as SpecFile, edits: match.containerEdits }];
      });
      if (found.length > 1)
        throw new StatusError(
          Code.FailedPrecondition,
          `CDI device ${name} is in ${found.map((f) => f.file.path).join(" and ")}; remove it from all but one`,
        );
      if (found[0] !== undefined) return found[0];
    }
    throw new StatusError(
      Code.FailedPrecondition,
      `CDI device ${name} is in no specification of ${this.#dirs.join(", ") || "no directory"}${listProblems(byDir.flat())}`,
    );
  }

  /** The content of each directory. Forgets files that are gone. */
  async #read(): Promise<CachedFile["result"][][]> {
    const cache = new Map<string, CachedFile>();
    const byDir: CachedFile["result"][][] = [];
    for (const dir of this.#dirs) {
      const results: CachedFile["result"][] = [];
      for (const path of filesOf(dir)) {
        const file = typeof path === "string" ? await readCached(path, this.#cache.get(path)) : path;
        if (file instanceof StatusError) results.push(file);
        else if (file !== undefined) {
          cache.set(path as string, file);
          results.push(file.result);
        }
      }
      byDir.push(results);
    }
    this.#cache = cache;
    return byDir;
  }
}

function listProblems(results: readonly CachedFile["result"][]): string {
  const problems = results.filter((r) => r instanceof StatusError).map((r) => r.message);
  if (problems.length === 0) return "";
  const more = problems.length > maxProblemsListed ? `; and ${problems.length - maxProblemsListed} more` : "";
  return `; some files cannot be used: ${problems.slice(0, maxProblemsListed).join("; ")}${more}`;
}

/** The paths of the files that may be specifications, in order, or the problem with the directory. */
function filesOf(dir: string): (string | StatusError)[] {
  try {
    return readdirSync(dir)
      .filter((name) => /\.(json|yaml)$/.test(name))
      .sort()
      .map((name) => join(dir, name));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    return [new StatusError(Code.FailedPrecondition, `${dir}: ${messageOf(error)}`, error)];
  }
}

/** Undefined when the file was removed in the meantime. */
async function readCached(path: string, cached: CachedFile | undefined): Promise<CachedFile | undefined> {
  let fd: number;
  try {
    // O_NONBLOCK: not to wait for the writer of a FIFO.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    return { version: "", result: problem(path, messageOf(error), error) };
  }
  try {
    const { dev, ino, size, mtimeNs, ctimeNs, mode } = fstatSync(fd, { bigint: true });
    const version = [dev, ino, size, mtimeNs, ctimeNs].join();
    if (cached?.version === version) return cached;
    if ((mode & BigInt(constants.S_IFMT)) !== BigInt(constants.S_IFREG))
      return { version, result: problem(path, "is not a regular file") };
    return { version, result: await readSpec(path, fd, Number(size)) };
  } finally {
    closeSync(fd);
  }
}

async function readSpec(path: string, fd: number, bytes: number): Promise<SpecFile | StatusError> {
  const isYaml = path.endsWith(".yaml");
  const limit = isYaml ? maxFileBytes.yaml : maxFileBytes.json;
  if (bytes > limit) return problem(path, `has ${bytes} bytes; at most ${limit} are read`);
  try {
    const text = readFileSync(fd, "utf8");
    return { path, spec: parseCdiSpec(isYaml ? await parseYaml(text) : (JSON.parse(text) as unknown)) };
  } catch (error) {
    return problem(path, oneLine(messageOf(error)), error);
  }
}

/** Loaded on demand: few machines have such a file. */
async function parseYaml(text: string): Promise<unknown> {
  const { parse } = await import("yaml");
  // Nested aliases could expand to gigabytes.
  return parse(text, { maxAliasCount: 100, logLevel: "error" }) as unknown;
}

function problem(path: string, text: string, cause?: unknown): StatusError {
  return new StatusError(Code.FailedPrecondition, `${path}: ${text}`, cause);
}

/** A parser's error may quote the file. */
function oneLine(text: string): string {
  const line = text
    .split("\n", 1)[0]!
    .replaceAll(/\p{Cc}/gu, " ")
    .toWellFormed();
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}
