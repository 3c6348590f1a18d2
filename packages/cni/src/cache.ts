import { existsSync, readdirSync, rmSync } from "node:fs";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "@keelson/base/atomic-file.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { type Attachment, checkAttachment } from "./attachment.ts";
import { type ConfigList, encodeConfigList, parseConfigList } from "./config-list.ts";
import { isJsonObject, type JsonObject, parseJsonObject } from "./json.ts";
import { decodeResult, type Result } from "./result.ts";

/** What is needed to remove an attachment. */
export interface CachedAttachment {
  readonly attachment: Attachment;
  /** The list that it was added with. */
  readonly list: ConfigList;
  /** Undefined: the ADD was begun, and its end was never recorded. */
  readonly result: Result | undefined;
}

/** What was found in the cache, and the files in it that cannot be read, with the reason. */
export interface CacheListing {
  readonly attachments: readonly CachedAttachment[];
  readonly damaged: ReadonlyMap<string, string>;
}

/** Enough for the largest list and result, both in JSON and base64. */
const fileLimitBytes = 8 << 20;

/**
 * The attachments of this machine, one file for each in DIR/results. Format and names are those of libcni's cache
 * (`cniCacheV1`), so programs that read that one can read this. An entry without a result is an ADD that was begun:
 * libcni never writes such entries, and reads them as attachments without a result.
 */
export class AttachmentCache {
  readonly #dir: string;

  /** @param dir such as /var/lib/keelson/cni; created when it is first needed. */
  constructor(dir: string) {
    this.#dir = join(dir, "results");
  }

  /** Writes an entry, durably. Throws ResourceExhausted when it is too large, and errors of the file system. */
  async put({ attachment, list, result }: CachedAttachment): Promise<void> {
    const { containerId, netns, ifName, args, capabilityArgs } = attachment;
    const entry = {
      kind: "cniCacheV1",
      containerId,
      config: Buffer.from(encodeConfigList(list)).toString("base64"),
      ifName,
      networkName: list.name,
      netns,
      cniArgs: args,
      capabilityArgs,
      ...(result === undefined ? {} : { result: result.raw }),
    };
    const text = JSON.stringify(entry);
    if (Buffer.byteLength(text) > fileLimitBytes)
      throw new StatusError(
        Code.ResourceExhausted,
        `the parameters of the network are larger than ${fileLimitBytes} bytes`,
      );
    // Each time, so that a directory that was removed by hand is created again.
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    await writeFileAtomic(join(this.#dir, fileName(list.name, containerId, ifName)), text, 0o600);
  }

  /** The entries of one container, or of all. None when the directory does not exist. */
  async list(containerId?: string): Promise<CacheListing> {
    const attachments: CachedAttachment[] = [];
    const damaged = new Map<string, string>();
    for (const name of await this.#names()) {
      if (name.endsWith(".tmp") || (containerId !== undefined && !name.includes(`-${containerId}-`))) continue;
      const file = join(this.#dir, name);
      try {
        attachments.push(decodeEntry(await readFile(file, "utf8"), name));
      } catch (error) {
        if (!isMissing(error)) damaged.set(file, messageOf(error));
      }
    }
    return { attachments, damaged };
  }

  /** Forgets an attachment, if it is known. */
  async remove(network: string, containerId: string, ifName: string): Promise<void> {
    // Without fsync: an entry that reappears after a power cut costs one more DEL.
    await rm(join(this.#dir, fileName(network, containerId, ifName)), { force: true });
  }

  /** Removes the remains of interrupted writes. To be called before anything else uses the cache, hence synchronous. */
  sweep(): void {
    if (!existsSync(this.#dir)) return;
    for (const name of readdirSync(this.#dir)) {
      if (name.endsWith(".tmp")) rmSync(join(this.#dir, name), { force: true });
    }
  }

  async #names(): Promise<string[]> {
    try {
      return (await readdir(this.#dir)).sort();
    } catch (error) {
      if (isMissing(error)) return [];
      throw error;
    }
  }
}

function fileName(network: string, containerId: string, ifName: string): string {
  return `${network}-${containerId}-${ifName}`;
}

/** Parses an entry's file. Throws InvalidArgument when it is damaged or does not belong to its name. */
function decodeEntry(text: string, name: string): CachedAttachment {
  const raw = parseJsonObject(text, fileLimitBytes);
  if (raw["kind"] !== "cniCacheV1") throw invalid("kind: must be cniCacheV1");
  const list = parseConfigList(Buffer.from(string(raw, "config"), "base64").toString(), "config");
  const attachment: Attachment = {
    containerId: string(raw, "containerId"),
    netns: string(raw, "netns"),
    ifName: string(raw, "ifName"),
    args: pairs(raw["cniArgs"]),
    capabilityArgs: optionalObject(raw, "capabilityArgs") ?? {},
  };
  checkAttachment(attachment);
  // A copied or renamed file must not make us remove another attachment.
  if (name !== fileName(list.name, attachment.containerId, attachment.ifName))
    throw invalid("is not for the attachment in its name");
  const result = optionalObject(raw, "result");
  return { attachment, list, result: result === undefined ? undefined : decodeResult(result, list.cniVersion) };
}

function pairs(value: unknown): [string, string][] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalid("cniArgs: must be a list");
  return value.map((pair: unknown) => {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== "string" || typeof pair[1] !== "string")
      throw invalid("cniArgs: must be pairs of strings");
    return [pair[0], pair[1]];
  });
}

function string(raw: JsonObject, key: string): string {
  const value = raw[key];
  if (typeof value !== "string") throw invalid(`${key}: must be a string`);
  return value;
}

function optionalObject(raw: JsonObject, key: string): JsonObject | undefined {
  const value = raw[key];
  if (value === undefined || value === null) return undefined;
  if (!isJsonObject(value)) throw invalid(`${key}: must be an object`);
  return value;
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function invalid(message: string): StatusError {
  return new StatusError(Code.InvalidArgument, message);
}
