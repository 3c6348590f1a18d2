import fs from "node:fs";
import { join } from "node:path";
import { lgetxattr, llistxattr, lremovexattr, lsetxattr, utimensat } from "@keelson/linux/file.ts";
import { removeTree } from "@keelson/linux/tree.ts";
import { inTree, parentInTree } from "./binary-path.ts";
import { compareLayer, type Difference } from "./compare-layer.ts";
import { layerFiles } from "./layer-files.ts";
import { hostXattrs, parseManifestLines } from "./layer-manifest.ts";

/**
 * Repairs a damaged layer file by file, with renames from a fresh one, which is used up: containers that use the layer
 * keep all files that were intact. Returns what was wrong. What a crash leaves unfinished is finished by the next
 * repair. For a worker thread. Throws errors of the file system.
 */
export function repairLayer(damaged: string, fresh: string): Difference[] {
  const manifest = parseManifestLines(fs.readFileSync(join(fresh, layerFiles.manifest), "utf8"));
  const trees = { to: join(damaged, layerFiles.diff), from: join(fresh, layerFiles.diff) };
  if (fs.lstatSync(trees.to, { throwIfNoEntry: false })?.isDirectory() !== true) {
    removeTree(trees.to);
    fs.mkdirSync(trees.to);
  }
  const differences = [...compareLayer(trees.to, manifest)];
  // Read before the renames, which change the times of both directories.
  const parents = [...new Set(differences.map(({ path }) => parentInTree(path)))].map((path) => ({
    path,
    times: timesOf(inTree(trees.from, path)),
  }));
  for (const difference of differences) replace(trees, difference);
  for (const { path, times } of parents) setTimes(inTree(trees.to, path), times);
  fs.renameSync(join(fresh, layerFiles.manifest), join(damaged, layerFiles.manifest));
  fs.rmSync(join(damaged, layerFiles.damageMark), { force: true });
  return differences;
}

function replace({ to, from }: { to: string; from: string }, { path, is }: Difference): void {
  const target = inTree(to, path);
  const source = inTree(from, path);
  if (is === "added") return removeTree(target);
  const wanted = fs.lstatSync(source);
  const found = fs.lstatSync(target, { throwIfNoEntry: false });
  if (wanted.isDirectory() && found?.isDirectory() === true) return copyAttributes(source, wanted, target);
  // A rename replaces a file with another, but not a directory with a file or the other way round.
  if (found !== undefined && (wanted.isDirectory() || found.isDirectory())) removeTree(target);
  fs.renameSync(source, target);
}

function copyAttributes(source: Buffer | string, wanted: fs.Stats, target: Buffer | string): void {
  fs.chownSync(target, wanted.uid, wanted.gid);
  fs.chmodSync(target, wanted.mode & 0o7777);
  for (const name of llistxattr(target)) if (!hostXattrs.test(name)) lremovexattr(target, name);
  for (const name of llistxattr(source)) {
    const value = hostXattrs.test(name) ? null : lgetxattr(source, name);
    if (value !== null) lsetxattr(target, name, value);
  }
  setTimes(target, timesOf(source));
}

interface Times {
  atimeNs: bigint;
  mtimeNs: bigint;
}

/** The times of a directory; undefined for other files, and for what does not exist. */
function timesOf(at: Buffer | string): Times | undefined {
  const stat = fs.lstatSync(at, { bigint: true, throwIfNoEntry: false });
  return stat?.isDirectory() === true ? stat : undefined;
}

function setTimes(at: Buffer | string, times: Times | undefined): void {
  if (times !== undefined) utimensat(at, times.atimeNs, times.mtimeNs, true);
}
