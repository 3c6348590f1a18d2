import fs from "node:fs";

/** Something in a directory tree. */
export interface TreeEntry {
  /** A binary string, one character for each byte: "/" for the tree's own directory, "/etc/passwd". */
  path: string;
  /** What to give to Node's calls. */
  at: Buffer | string;
  stat: fs.Stats;
}

/**
 * Everything in a tree, parents first and by name, without following a symlink. `enter` says whether a
 * directory is looked into. Synchronous: not for the main thread of the daemon. Throws what the file
 * system says.
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

/** Where a path of a tree is. Node takes text as UTF-8: what is not ASCII goes as the bytes that it is. */
export function inTree(top: string, path: string): Buffer | string {
  const base = top === "/" ? "" : top;
  // oxlint-disable-next-line no-control-regex -- all of ASCII is meant
  if (/^[\u0000-\u007f]*$/.test(path)) return `${base}${path}`;
  return Buffer.concat([Buffer.from(base), Buffer.from(path, "latin1")]);
}
