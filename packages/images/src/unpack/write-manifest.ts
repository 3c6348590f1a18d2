import { createHash } from "node:crypto";
import fs from "node:fs";
import { namingFile } from "@keelson/base/exhaustion.ts";
import { checksumOfFile, manifestDigestOf, manifestLine } from "../layer-manifest.ts";
import { inTree, walkTree } from "../tree-walk.ts";

/** What the writer of a layer knows of it, so that nothing is read back. */
export interface LayerNotes {
  /** The CRC-32 of a file by its path; undefined: not known, so the file is read. */
  checksumOf(path: string): number | undefined;
  /** Whether anything in the layer has xattrs. */
  readonly hasXattrs: boolean;
}

/** Lines are written in pieces of this many characters. */
const pieceLength = 64 * 1024;

/**
 * Writes what is below "/" to an open file and returns the digest of it. It goes by what is on disk,
 * not by what the tar asked for. For a worker thread that has entered the layer as its root.
 */
export function writeManifest(fd: number, notes: LayerNotes): string {
  const digest = createHash("sha256");
  let piece = "";
  const flush = () => {
    digest.update(piece);
    fs.writeFileSync(fd, piece);
    piece = "";
  };
  for (const { path, at, stat } of walkTree("/")) {
    piece += manifestLine(path, at, stat, notes.hasXattrs, () => notes.checksumOf(path) ?? checksumOfFile(at)) + "\n";
    if (piece.length >= pieceLength) flush();
  }
  flush();
  return `sha256:${digest.digest("hex")}`;
}

/**
 * Adds to a manifest what directories are now: inheriting changed them. `paths` are binary strings
 * without a leading "/". Returns the digest of the whole.
 */
export function amendManifest(file: string, directory: string, paths: readonly string[]): string {
  let lines = "";
  for (const path of paths.map((each) => `/${each}`)) {
    const at = inTree(directory, path);
    const stat = fs.lstatSync(at, { throwIfNoEntry: false });
    if (stat?.isDirectory() === true) lines += manifestLine(path, at, stat, true, () => 0) + "\n";
  }
  namingFile(file, () => fs.appendFileSync(file, lines));
  return manifestDigestOf(fs.readFileSync(file));
}
