import fs from "node:fs";
import { lsetxattr, utimensat } from "@keelson/linux/file.ts";
import { errnoOf, inRoot, lstatInRoot } from "./root-path.ts";
import type { TarEntry } from "./tar-entry.ts";

/** What a directory gets in the end. */
export type DirectoryAttributes = Pick<TarEntry, "mode" | "uid" | "gid" | "mtimeSec" | "mtimeNsec">;

/** Sets a directory's attributes, unless something else later in the layer has replaced it. */
export function setDirectoryAttributes(path: string, attributes: DirectoryAttributes): void {
  const at = inRoot(path);
  const stat = lstatInRoot(path);
  if (stat?.isDirectory() !== true) return;
  if (attributes.uid !== 0 || attributes.gid !== 0) fs.lchownSync(at, attributes.uid, attributes.gid);
  if ((stat.mode & 0o7777) !== attributes.mode) fs.chmodSync(at, attributes.mode);
  setTimes(path, attributes);
}

/** Sets the times of a file of any kind to the entry's, without following a symlink. */
export function setTimes(path: string, time: Pick<TarEntry, "mtimeSec" | "mtimeNsec">): void {
  const ns = BigInt(time.mtimeSec) * 1_000_000_000n + BigInt(time.mtimeNsec);
  utimensat(inRoot(path), ns, ns, true);
}

/**
 * Sets an entry's xattrs, except trusted.*, which belongs to this host (overlayfs reads its redirects there), and the
 * host's labels. As in other runtimes, a file system that does not support the others does not stop the unpacking.
 */
export function setXattrs(path: string, entry: TarEntry): void {
  for (const [binaryKey, value] of entry.xattrs) {
    const key = Buffer.from(binaryKey, "latin1").toString("utf8");
    if (
      key.startsWith("trusted.") ||
      key === "security.selinux" ||
      key.startsWith("user.overlay.") ||
      key.includes("\0")
    )
      continue;
    try {
      lsetxattr(inRoot(path), key, value);
    } catch (error) {
      const isUserOfNode = errnoOf(error) === "EPERM" && key.startsWith("user.");
      if (errnoOf(error) !== "ENOTSUP" && errnoOf(error) !== "EOPNOTSUPP" && !isUserOfNode) throw error;
    }
  }
}
