import { messageOf } from "@keelson/base/status.ts";
import { checksumOfFile, describeChange, type ManifestLines, manifestLine } from "./layer-manifest.ts";
import { type TreeEntry, walkTree } from "./tree-walk.ts";

/** Something in a layer that is not as its manifest says. */
export interface Difference {
  /** A binary string that begins with "/". */
  path: string;
  is: "missing" | "added" | "changed";
  /** In which way it changed: `other content`, `mode 600, was 644`. */
  detail: string;
  /** Whether what is there now is another kind of file, so that nothing below it can be right. */
  isOtherKind: boolean;
}

/**
 * Compares a layer's files with its manifest and reads all of them. What is below something missing or
 * added is not told apart. Synchronous, and as slow as the disk: for a worker thread, or a program
 * that does nothing else.
 */
export function* compareLayer(directory: string, manifest: ManifestLines): Generator<Difference> {
  const left = new Map(manifest);
  /** Directories that are none, or not there: what should be below them is told with them. */
  const gone = new Set<string>();
  for (const entry of walkTree(directory, ({ path }) => manifest.get(path)?.startsWith("d ") === true)) {
    const difference = differenceOf(entry, manifest);
    left.delete(entry.path);
    if (difference?.isOtherKind === true) gone.add(entry.path);
    if (difference !== undefined) yield difference;
  }
  for (const path of left.keys()) {
    // In a manifest parents come first.
    if (!gone.has(parentOf(path))) yield { path, is: "missing", detail: "", isOtherKind: false };
    gone.add(path);
  }
}

function differenceOf({ path, at, stat }: TreeEntry, manifest: ManifestLines): Difference | undefined {
  const expected = manifest.get(path);
  if (expected === undefined) return { path, is: "added", detail: "", isOtherKind: false };
  try {
    const found = manifestLine(path, at, stat, true, () => checksumOfFile(at));
    if (found === expected) return undefined;
    return { path, is: "changed", detail: describeChange(expected, found), isOtherKind: found[0] !== expected[0] };
  } catch (error) {
    // A disk that gives an error for a file has lost it.
    return { path, is: "changed", detail: `cannot be read: ${messageOf(error)}`, isOtherKind: false };
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf("/")));
}
