import { createHash } from "node:crypto";
import fs from "node:fs";
import { crc32 } from "node:zlib";
import { lgetxattr, llistxattr } from "@keelson/linux/file.ts";
import type { TreeEntry } from "./tree-walk.ts";

/**
 * A description of a layer's files, one line for each, so that damage can be found file by file long after the tar is
 * gone:
 *
 *     f 755 0 0 768608:9a3c11f0 - /bin/busybox
 *     l 777 0 0 usr/lib - /lib
 *     d 1777 0 0 - - /tmp
 *
 * Type, permission bits, owner, group; a file's size and checksum, a symlink's target or a device's number; a digest of
 * the xattrs; the path. Bytes outside plain ASCII are written `%XX`. Of several lines for a path the last one counts,
 * which is how implicit directories are corrected (unpack/inherit.ts).
 *
 * Times are left out, as no damage to a disk changes only them.
 */
export type ManifestLines = Map<string, string>;

/** How many bytes of a file are read at once. */
const chunkBytes = 256 * 1024;

/** Fields before the path. */
const fields = ["type", "mode", "owner", "group", "content", "xattrs"] as const;

/** The host's own labels, which are not part of a layer. */
export const hostXattrs = /^security\.(selinux|ima|evm|SMACK64.*)$/;

/**
 * The line for a file, without a line break. `checksumOf` is called for regular files only. Throws errors of the file
 * system.
 */
export function manifestLine({ path, at, stat }: TreeEntry, hasXattrs: boolean, checksumOf: () => number): string {
  const mode = (stat.mode & 0o7777).toString(8);
  return `${typeOf(stat)} ${mode} ${stat.uid} ${stat.gid} ${contentOf(at, stat, checksumOf)} ${hasXattrs ? xattrsOf(at) : "-"} ${escape(path)}`;
}

/** Parses a manifest to a map from paths to lines. Throws an Error when it is malformed. */
export function parseManifestLines(text: string): ManifestLines {
  const lines: ManifestLines = new Map();
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const path = /^[fdlcbps] [0-7]{1,4} \d+ \d+ \S+ \S+ (\/\S*)$/.exec(line)?.[1];
    if (path === undefined) throw new Error(`the layer's manifest has a malformed line: ${line.slice(0, 100)}`);
    lines.set(unescape(path), line);
  }
  if (!lines.has("/")) throw new Error("the layer's manifest is empty");
  return lines;
}

/** The digest of a manifest, which is kept in the layer's record. */
export function manifestDigestOf(text: string | Buffer): string {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}

/** How two lines for the same path differ, for people to read: `mode 755, was 644`. */
export function describeChange(expected: string, found: string): string {
  const [was, is] = [expected.split(" "), found.split(" ")];
  const changes = fields.flatMap((field, index) => {
    if (was[index] === is[index]) return [];
    return [
      field === "content" || field === "xattrs"
        ? changeOfContent(field, was[index] ?? "", is[index] ?? "")
        : `${field} ${is[index]}, was ${was[index]}`,
    ];
  });
  return changes.join("; ");
}

function changeOfContent(field: string, was: string, is: string): string {
  const [wasSize, isSize] = [was.split(":")[0], is.split(":")[0]];
  if (!was.includes(":") || !is.includes(":")) return `${field} ${is}, was ${was}`;
  return wasSize === isSize ? "other content" : `${isSize} bytes, was ${wasSize}`;
}

/** The CRC-32 of a file, which is read in pieces. Throws errors of the file system. */
export function checksumOfFile(at: Buffer | string): number {
  const fd = fs.openSync(at, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
  try {
    const buffer = Buffer.allocUnsafe(chunkBytes);
    let checksum = 0;
    for (let length = fs.readSync(fd, buffer); length > 0; length = fs.readSync(fd, buffer))
      checksum = crc32(buffer.subarray(0, length), checksum);
    return checksum;
  } finally {
    fs.closeSync(fd);
  }
}

function typeOf(stat: fs.Stats): string {
  if (stat.isFile()) return "f";
  if (stat.isDirectory()) return "d";
  if (stat.isSymbolicLink()) return "l";
  if (stat.isCharacterDevice()) return "c";
  if (stat.isBlockDevice()) return "b";
  return stat.isFIFO() ? "p" : "s";
}

function contentOf(at: Buffer | string, stat: fs.Stats, checksumOf: () => number): string {
  if (stat.isFile()) return `${stat.size}:${checksumOf().toString(16).padStart(8, "0")}`;
  if (stat.isSymbolicLink()) return escape(fs.readlinkSync(at, "latin1")) || "-";
  return stat.isCharacterDevice() || stat.isBlockDevice() ? String(stat.rdev) : "-";
}

function xattrsOf(at: Buffer | string): string {
  const names = llistxattr(at)
    .filter((name) => !hostXattrs.test(name))
    .sort();
  if (names.length === 0) return "-";
  const hash = createHash("sha256");
  for (const name of names) {
    const value = lgetxattr(at, name) ?? Buffer.alloc(0);
    hash.update(`${name}\0${value.length}\0`).update(value);
  }
  return hash.digest("hex").slice(0, 16);
}

function escape(binary: string): string {
  return binary.replace(/[^!-$&-~]/g, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function unescape(text: string): string {
  return text.replace(/%([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
