import { createHash } from "node:crypto";
import fs from "node:fs";
import { namingFile } from "@keelson/base/exhaustion.ts";
import { inTree } from "../binary-path.ts";
import { checksumOfFile, manifestDigestOf, manifestLine } from "../layer-manifest.ts";
import { walkTree } from "../tree-walk.ts";
import { isOwnDirectory } from "./inherit.ts";

/** What the layer's writer knows, so that files need not be read back. */
export interface LayerNotes {
  /** The CRC-32 of a file, by its path; undefined: not known, the file must be read. */
  checksumOf(path: string): number | undefined;
  /** Whether anything in the layer has xattrs. */
  readonly hasXattrs: boolean;
}

/** Lines are written in pieces of about this many characters. */
const pieceLength = 64 * 1024;

/**
 * Writes the manifest of what is below "/" to an open file and returns its digest. It describes what is on disk, not
 * what was in the tar. For a worker thread that has entered the layer as its root.
 */
export function writeManifest(fd: number, notes: LayerNotes): string {
  const digest = createHash("sha256");
  let piece = "";
  const flush = () => {
    digest.update(piece);
    fs.writeFileSync(fd, piece);
    piece = "";
  };
  for (const entry of walkTree("/")) {
    const checksumOf = () => notes.checksumOf(entry.path) ?? checksumOfFile(entry.at);
    piece += `${manifestLine(entry, notes.hasXattrs, checksumOf)}\n`;
    if (piece.length >= pieceLength) flush();
  }
  flush();
  return `sha256:${digest.digest("hex")}`;
}

/**
 * Appends new lines to a manifest for directories that were changed by inheriting. `paths` are binary strings without a
 * leading "/". Returns the digest of the whole manifest.
 */
export function amendManifest(file: string, directory: string, paths: readonly string[]): string {
  let lines = "";
  for (const path of paths) {
    if (!isOwnDirectory(directory, path)) continue;
    const at = inTree(directory, `/${path}`);
    lines += `${manifestLine({ path: `/${path}`, at, stat: fs.lstatSync(at) }, true, () => 0)}\n`;
  }
  namingFile(file, () => fs.appendFileSync(file, lines));
  return manifestDigestOf(fs.readFileSync(file));
}
