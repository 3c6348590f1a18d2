import fs from "node:fs";
import { join } from "node:path";
import { lgetxattr, llistxattr, lsetxattr, utimensat } from "@keelson/linux/file.ts";

/**
 * Gives directories that a layer has no entry for what they are below it: owner, mode, times and
 * xattrs of the uppermost layer that has them. Without this overlayfs would show them as the layer
 * made them: a /tmp with mode 0755. (containerd: archive `mkparent`.)
 *
 * `paths` are binary strings, parents first; `below` the directories of the lower layers, uppermost
 * first. Follows no symlink, so it needs no chroot: the layers below do not change any more.
 */
export function inheritAttributes(directory: string, paths: readonly string[], below: readonly string[]): void {
  for (const path of paths) {
    if (lookUp(directory, path).is !== "directory") continue;
    const origin = findBelow(path, below);
    if (origin !== undefined) copyAttributes(origin, inside(directory, path));
  }
}

function findBelow(path: string, below: readonly string[]): Buffer | undefined {
  for (const layer of below) {
    const found = lookUp(layer, path);
    if (found.is === "directory") return inside(layer, path);
    if (found.is === "hidden") return undefined;
  }
  return undefined;
}

/**
 * Whether a layer has a real directory at this path. Hidden: it has something else there, or an
 * opaque directory above, so that no layer below counts.
 */
function lookUp(layer: string, path: string): { is: "directory" | "missing" | "hidden" } {
  let opaque = false;
  const parts = path === "" ? [] : path.split("/");
  for (let count = 1; count <= parts.length; count += 1) {
    const at = inside(layer, parts.slice(0, count).join("/"));
    const stat = fs.lstatSync(at, { throwIfNoEntry: false });
    if (stat === undefined) return { is: opaque ? "hidden" : "missing" };
    if (!stat.isDirectory()) return { is: "hidden" };
    opaque ||= lgetxattr(at, "trusted.overlay.opaque")?.toString() === "y";
  }
  return { is: "directory" };
}

function copyAttributes(from: Buffer, to: Buffer): void {
  const stat = fs.lstatSync(from, { bigint: true });
  fs.lchownSync(to, Number(stat.uid), Number(stat.gid));
  fs.chmodSync(to, Number(stat.mode) & 0o7777);
  for (const name of llistxattr(from)) {
    const value = name.startsWith("trusted.overlay.") ? null : lgetxattr(from, name);
    if (value !== null) lsetxattr(to, name, value);
  }
  utimensat(to, stat.atimeNs, stat.mtimeNs, true);
}

function inside(directory: string, binaryPath: string): Buffer {
  return Buffer.concat([Buffer.from(join(directory, "/")), Buffer.from(binaryPath, "latin1")]);
}
