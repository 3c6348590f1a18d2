import fs from "node:fs";
import { inTree } from "./binary-path.ts";

/** A file of any kind in a directory tree. */
export interface TreeEntry {
  /** A binary string, such as "/etc/passwd"; "/" is the tree's top directory. */
  path: string;
  /** Its path for Node's calls. */
  at: Buffer | string;
  stat: fs.Stats;
}

/**
 * Everything in a tree, parents first and sorted by name, without following symlinks. `enter` decides whether to look
 * into a directory. Synchronous, so not for the daemon's main thread. Throws errors of the file system.
 */
export function* walkTree(top: string, enter: (entry: TreeEntry) => boolean = () => true): Generator<TreeEntry> {
  const open: string[] = ["/"];
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const at = inTree(top, path);
    const entry = { path, at, stat: fs.lstatSync(at) };
    yield entry;
    if (!entry.stat.isDirectory() || !enter(entry)) continue;
    const names = fs.readdirSync(at, "latin1").sort();
    for (let index = names.length - 1; index >= 0; index -= 1)
      open.push(path === "/" ? `/${names[index]}` : `${path}/${names[index]}`);
  }
}
