import { messageOf } from "@keelson/base/status.ts";
import { parentInTree } from "./binary-path.ts";
import { checksumOfFile, describeChange, type ManifestLines, manifestLine } from "./layer-manifest.ts";
import { type TreeEntry, walkTree } from "./tree-walk.ts";

/** A file in a layer that does not match the layer's manifest. */
export interface Difference {
  /** A binary string that begins with "/". */
  path: string;
  is: "missing" | "added" | "changed";
  /** How it has changed: `other content`, `mode 600, was 644`. */
  detail: string;
  /** Whether it is now another kind of file, so that everything below it is missing too. */
  isOtherKind: boolean;
}

/**
 * Compares a layer's files with its manifest, reading all of them. What is below something missing or added is not
 * reported separately. Synchronous, and as slow as the disk: for a worker thread, or for a program that does nothing
 * else.
 */
export function* compareLayer(directory: string, manifest: ManifestLines): Generator<Difference> {
  const left = new Map(manifest);
  /**
   * Missing directories, and what is not a directory any more: what should be below them is not reported separately.
   */
  const gone = new Set<string>();
  for (const entry of walkTree(directory, ({ path }) => manifest.get(path)?.startsWith("d ") === true)) {
    const difference = differenceOf(entry, manifest);
    left.delete(entry.path);
    if (difference?.isOtherKind === true) gone.add(entry.path);
    if (difference !== undefined) yield difference;
  }
  for (const path of left.keys()) {
    // Parents come first in a manifest.
    if (!gone.has(parentInTree(path))) yield { path, is: "missing", detail: "", isOtherKind: false };
    gone.add(path);
  }
}

function differenceOf(entry: TreeEntry, manifest: ManifestLines): Difference | undefined {
  const { path, at } = entry;
  const expected = manifest.get(path);
  if (expected === undefined) return { path, is: "added", detail: "", isOtherKind: false };
  try {
    const found = manifestLine(entry, true, () => checksumOfFile(at));
    if (found === expected) return undefined;
    return { path, is: "changed", detail: describeChange(expected, found), isOtherKind: found[0] !== expected[0] };
  } catch (error) {
    // When the disk returns an error for a file, it is lost.
    return { path, is: "changed", detail: `cannot be read: ${messageOf(error)}`, isOtherKind: false };
  }
}
