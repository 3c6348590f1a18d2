import fs from "node:fs";
import { lgetxattr, llistxattr, lsetxattr, utimensat } from "@keelson/linux/file.ts";
import { inTree } from "../binary-path.ts";

/**
 * Gives directories that have no entry in a layer the owner, mode, times and xattrs that they have in the uppermost
 * layer below with such a directory. Otherwise overlayfs would show them as they were made here: a /tmp with mode 0755.
 * (containerd: archive `mkparent`.)
 *
 * `paths` are binary strings, parents first; `below` has the directories of the lower layers, uppermost first. No
 * chroot is needed, as no symlink is followed and the layers below do not change any more.
 */
export function inheritAttributes(directory: string, paths: readonly string[], below: readonly string[]): void {
  for (const path of paths) {
    if (!isOwnDirectory(directory, path)) continue;
    const origin = findBelow(path, below);
    if (origin !== undefined) copyAttributes(origin, inTree(directory, `/${path}`));
  }
}

/**
 * Whether `path` is a directory of the tree by its own name. Behind a link it is not: lstat(2) of such a path would
 * follow an absolute link to the host's files.
 */
export function isOwnDirectory(tree: string, path: string): boolean {
  return lookUp(tree, path).is === "directory";
}

function findBelow(path: string, below: readonly string[]): Buffer | string | undefined {
  for (const layer of below) {
    const found = lookUp(layer, path);
    if (found.is === "directory") return inTree(layer, `/${path}`);
    if (found.is === "hidden") return undefined;
  }
  return undefined;
}

/**
 * Whether a layer has a real directory at this path. Hidden: it has something else there, or an opaque directory above
 * it, so layers further below do not matter.
 */
function lookUp(layer: string, path: string): { is: "directory" | "missing" | "hidden" } {
  let opaque = false;
  const parts = path === "" ? [] : path.split("/");
  for (let count = 1; count <= parts.length; count += 1) {
    const at = inTree(layer, `/${parts.slice(0, count).join("/")}`);
    const stat = fs.lstatSync(at, { throwIfNoEntry: false });
    if (stat === undefined) return { is: opaque ? "hidden" : "missing" };
    if (!stat.isDirectory()) return { is: "hidden" };
    opaque ||= lgetxattr(at, "trusted.overlay.opaque")?.toString() === "y";
  }
  return { is: "directory" };
}

function copyAttributes(from: Buffer | string, to: Buffer | string): void {
  const stat = fs.lstatSync(from, { bigint: true });
  fs.lchownSync(to, Number(stat.uid), Number(stat.gid));
  fs.chmodSync(to, Number(stat.mode) & 0o7777);
  for (const name of llistxattr(from)) {
    const value = name.startsWith("trusted.overlay.") ? null : lgetxattr(from, name);
    if (value !== null) lsetxattr(to, name, value);
  }
  utimensat(to, stat.atimeNs, stat.mtimeNs, true);
}
