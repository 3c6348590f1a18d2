import { existsSync, readdirSync, rmSync } from "node:fs";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "@keelson/base/atomic-file.ts";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { type ConfigList, encodeConfigList, parseConfigList } from "./config-list.ts";
import { isJsonObject, type JsonObject, parseJsonObject } from "./json.ts";
import { decodeResult, type Result } from "./result.ts";

/** What one call to a network is about (CNI SPEC.md section 3, "Attachment Parameters"). */
export interface Attachment {
  readonly containerId: string;
  /** The network namespace's path; "" when it is gone, which only DEL takes. */
  readonly netns: string;
  /** The interface's name in the container. */
  readonly ifName: string;
  /** CNI_ARGS. */
  readonly args: readonly (readonly [key: string, value: string])[];
  /** By capability; each plugin gets those that it declares. */
  readonly capabilityArgs: JsonObject;
}

/** What must be known to take an attachment down again. */
export interface CachedAttachment {
  readonly attachment: Attachment;
  /** The list that it was added with. */
  readonly list: ConfigList;
  /** undefined: the ADD had begun and its end was never recorded. */
  readonly result: Result | undefined;
}

/** What was found in the cache, and apart from it the files that cannot be read: file → reason. */
export interface CacheListing {
  readonly attachments: readonly CachedAttachment[];
  readonly damaged: ReadonlyMap<string, string>;
}

/** A list and a result, each twice in JSON and base64, and then some. */
const fileLimitBytes = 8 << 20;

/**
 * The attachments of this machine, one file for each in DIR/results, in the format and under the names of
 * libcni's cache (`cniCacheV1`), so that what reads the one reads the other. An entry without a result
 * is one whose ADD has begun: libcni writes none, and takes it for an attachment without a result.
 */
export class AttachmentCache {
  readonly #dir: string;

  /** @param dir such as /var/lib/keelson/cni; made when it is first needed. */
  constructor(dir: string) {
    this.#dir = join(dir, "results");
  }

  /** Writes an entry; durable when it resolves. Throws ResourceExhausted when it is too large, and what the file system says. */
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
      throw new StatusError(Code.ResourceExhausted, `what the network is told is larger than ${fileLimitBytes} bytes`);
    // Each time: a directory that was removed by hand comes back.
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    await writeFileAtomic(join(this.#dir, fileName(list.name, containerId, ifName)), text, 0o600);
  }

  /** The entries of a container, or of all. A directory that is not there has none. */
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

  /** Forgets an attachment. One that is not there is fine. */
  async remove(network: string, containerId: string, ifName: string): Promise<void> {
    // Not fsynced: an entry that comes back after a power cut costs one DEL more.
    await rm(join(this.#dir, fileName(network, containerId, ifName)), { force: true });
  }

  /** Removes what writes that were cut off have left. Before anything else uses the cache; synchronous, to make that easy. */
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

/** Reads an entry's file. Throws InvalidArgument when it is damaged or not the one that its name says. */
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
  // A copied or renamed file must not make us take down another attachment.
  if (name !== fileName(list.name, attachment.containerId, attachment.ifName))
    throw invalid("is not about the attachment that its name says");
  const result = optionalObject(raw, "result");
  return { attachment, list, result: result === undefined ? undefined : decodeResult(result, list.cniVersion) };
}

/**
 * Checks what becomes part of file names, environment variables and the plugins' own names. Throws
 * InvalidArgument (SPEC.md section 2, "Parameters").
 */
export function checkAttachment({ containerId, netns, ifName, args }: Attachment): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,79}$/.test(containerId))
    throw invalid('container id: must be 1 to 80 letters, digits, "_", "." and "-"');
  // netdevice(7) names: dev_valid_name() in net/core/dev.c, IFNAMSIZ with its NUL.
  if (!/^[^\s/:\0]{1,15}$/.test(ifName) || ifName === "." || ifName === "..")
    throw invalid("interface name: must be 1 to 15 characters without space, / and :");
  if (netns.includes("\0")) throw invalid("network namespace: must be a path");
  for (const [key, value] of args) {
    if (!/^\w+$/.test(key)) throw invalid(`CNI_ARGS: ${JSON.stringify(key)} is no name of an argument`);
    if (!isArgument(value)) throw invalid(`CNI_ARGS: ${key} must not contain ";"`);
  }
}

/** May this be a value in CNI_ARGS, where a semicolon ends it? */
export function isArgument(value: string): boolean {
  return !/[;\0]/.test(value);
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
