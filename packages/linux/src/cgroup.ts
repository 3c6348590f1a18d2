import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isErrno } from "./errno.ts";
import { closeFd } from "./pipe.ts";
import { openPidfd, signalPidfd } from "./process.ts";
import { readStat } from "./procfs.ts";

/** One mounted tree of cgroups. */
export interface CgroupHierarchy {
  version: 1 | 2;
  /** Where it is mounted. */
  dir: string;
  /** Of v2, those that its root has to give. Empty for a named hierarchy. */
  controllers: readonly string[];
  /** "systemd" of "name=systemd" */
  name?: string;
}

/**
 * How a host mounts cgroups: one v2 tree, v1 trees for each controller, or v1 trees with a v2 tree beside them that has
 * the controllers left over. A cgroup path, "/kubepods/pod123", means the same relative path in each of them.
 */
export interface CgroupLayout {
  kind: "v1" | "hybrid" | "v2";
  root: string;
  hierarchies: readonly CgroupHierarchy[];
}

const v1Controllers = new Set([
  "blkio",
  "cpu",
  "cpuacct",
  "cpuset",
  "debug",
  "devices",
  "freezer",
  "hugetlb",
  "memory",
  "misc",
  "net_cls",
  "net_prio",
  "perf_event",
  "pids",
  "rdma",
]);

/** Reads the layout below root, as cgroups(7) and systemd have it. Throws Error when there are no cgroups. */
export function detectCgroups(root = "/sys/fs/cgroup"): CgroupLayout {
  const v2 = (dir: string): CgroupHierarchy => ({
    version: 2,
    dir,
    controllers: words(readFileSync(join(dir, "cgroup.controllers"), "utf8")),
  });
  // This file is in every v2 cgroup and in no other.
  if (existsSync(join(root, "cgroup.controllers"))) return { kind: "v2", root, hierarchies: [v2(root)] };

  const hierarchies: CgroupHierarchy[] = [];
  // Symlinks (cpu → cpu,cpuacct) and directories where nothing is mounted are passed over.
  for (const entry of existsSync(root) ? readdirSync(root, { withFileTypes: true }) : []) {
    const dir = join(root, entry.name);
    if (!entry.isDirectory() || !existsSync(join(dir, "cgroup.procs"))) continue;
    if (existsSync(join(dir, "cgroup.controllers"))) {
      hierarchies.push(v2(dir));
      continue;
    }
    const controllers = entry.name.split(",").filter((name) => v1Controllers.has(name));
    hierarchies.push({ version: 1, dir, controllers, ...(controllers.length > 0 ? {} : { name: entry.name }) });
  }
  if (!hierarchies.some((hierarchy) => hierarchy.version === 1))
    throw new Error(`no cgroups are mounted at ${root}: mount cgroup2 there`);
  return { kind: hierarchies.some((hierarchy) => hierarchy.version === 2) ? "hybrid" : "v1", root, hierarchies };
}

function words(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== "");
}

/** Refuses what would mean the root cgroup, with all of the host in it, or lead out: throws TypeError. */
export function checkPath(path: string): void {
  const segments = path.split("/").slice(1);
  if (!path.startsWith("/") || segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    throw new TypeError(`${JSON.stringify(path)} is no path of a cgroup below the root`);
  }
}

/** The directories of a cgroup, one in each hierarchy, whether they exist or not: what a process that joins it enters. */
export function cgroupDirs(layout: CgroupLayout, path: string): string[] {
  checkPath(path);
  return layout.hierarchies.map((hierarchy) => join(hierarchy.dir, path));
}

/** The directory with a controller's files, or undefined when the host has it nowhere. */
export function controllerDir(layout: CgroupLayout, path: string, controller: string): string | undefined {
  checkPath(path);
  const hierarchy = layout.hierarchies.find((candidate) => candidate.controllers.includes(controller));
  return hierarchy === undefined ? undefined : join(hierarchy.dir, path);
}

/**
 * Makes a cgroup and those above it in every hierarchy. It may exist. On v2 the controllers are passed down to it, and
 * its own limits can be set; on v1 a new cpuset takes its parent's CPUs, without which no process could enter. Throws
 * SystemError; what was new is removed again.
 */
export function createCgroup(layout: CgroupLayout, path: string): void {
  checkPath(path);
  const made: string[] = [];
  try {
    for (const hierarchy of layout.hierarchies) {
      let dir = hierarchy.dir;
      for (const segment of path.split("/").slice(1)) {
        const parent = dir;
        dir = join(parent, segment);
        if (hierarchy.version === 2) passDown(parent);
        if (makeDir(dir)) made.push(dir);
        if (hierarchy.controllers.includes("cpuset") && hierarchy.version === 1) {
          inherit(parent, dir, "cpuset.cpus");
          inherit(parent, dir, "cpuset.mems");
        }
      }
    }
  } catch (error) {
    for (const dir of made.reverse()) {
      try {
        rmdirSync(dir);
      } catch {
        // Someone uses it already; the error that counts is the first.
      }
    }
    throw error;
  }
}

function makeDir(dir: string): boolean {
  try {
    mkdirSync(dir);
    return true;
  } catch (error) {
    if (isErrno(error, "EEXIST")) return false;
    throw error;
  }
}

function passDown(dir: string): void {
  const enabled = new Set(words(readFileSync(join(dir, "cgroup.subtree_control"), "utf8")));
  for (const controller of words(readFileSync(join(dir, "cgroup.controllers"), "utf8"))) {
    if (enabled.has(controller)) continue;
    try {
      writeFileSync(join(dir, "cgroup.subtree_control"), `+${controller}`);
    } catch (error) {
      // One by one, because one that is refused (cpu while there are realtime processes; a threaded subtree) must
      // not take the others with it. Whoever sets a limit of it gets ENOENT.
      if (!isErrno(error, "EBUSY", "EINVAL", "ENOENT", "EOPNOTSUPP", "EPERM", "EACCES")) throw error;
    }
  }
}

function inherit(parent: string, dir: string, name: string): void {
  if (readFileSync(join(dir, name), "utf8").trim() === "")
    writeFileSync(join(dir, name), readFileSync(join(parent, name), "utf8").trim());
}

/** A directory and all below it, parents first; none when it is gone. */
function subtree(dir: string): string[] {
  try {
    const below = readdirSync(dir, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    return [dir, ...below.flatMap((entry) => subtree(join(dir, entry.name)))];
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENODEV")) return [];
    throw error;
  }
}

function procsOf(dir: string): number[] {
  try {
    // 0 is a process that our PID namespace does not see.
    return words(readFileSync(join(dir, "cgroup.procs"), "utf8"))
      .map(Number)
      .filter((pid) => pid > 0);
  } catch (error) {
    // EOPNOTSUPP: a threaded cgroup, whose processes its domain lists.
    if (isErrno(error, "ENOENT", "ENODEV", "EOPNOTSUPP", "ENOTSUP")) return [];
    throw error;
  }
}

/** The processes in a cgroup and below, in any hierarchy, in ascending order. */
export function cgroupProcs(layout: CgroupLayout, path: string): number[] {
  const pids = new Set(cgroupDirs(layout, path).flatMap(subtree).flatMap(procsOf));
  return [...pids].sort((a, b) => a - b);
}

/** No process is in it or below. True when it does not exist. */
export function isCgroupEmpty(layout: CgroupLayout, path: string): boolean {
  checkPath(path);
  if (layout.kind !== "v2") return cgroupProcs(layout, path).length === 0;
  try {
    // Counts also those that our PID namespace does not see.
    return /^populated 0$/m.test(readFileSync(join(layout.root, path, "cgroup.events"), "utf8"));
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENODEV")) return true;
    throw error;
  }
}

export interface WaitOptions {
  /** 5000 when not given. */
  timeoutMs?: number;
}

/**
 * Kills every process in a cgroup and below and waits until none is left. Nothing to do when it does not exist. Rejects
 * with code EBUSY when some are left after timeoutMs (a process in uninterruptible sleep), and with the signal's reason.
 */
export async function killCgroup(
  layout: CgroupLayout,
  path: string,
  { timeoutMs = 5000 }: WaitOptions = {},
  signal?: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  // What cannot be killed must not keep us busy: a look takes some hundred system calls on v1.
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 200)) {
    if (isCgroupEmpty(layout, path)) return;
    killOnce(layout, path);
    await sleep(pauseMs, undefined, signal === undefined ? {} : { signal });
    if (performance.now() > deadline && !isCgroupEmpty(layout, path)) {
      const left = cgroupProcs(layout, path).slice(0, 5).map(describeProcess).join(", ");
      throw Object.assign(
        new Error(`kill cgroup ${path}: still there ${timeoutMs} ms after SIGKILL: ${left} (EBUSY)`),
        { code: "EBUSY", errno: 16, syscall: "kill", path },
      );
    }
  }
}

/** Such as `"dd" (pid 42, state D in nfs_wait_bit_killable)`: what the kernel says that it waits for. */
function describeProcess(pid: number): string {
  const stat = readStat(pid);
  if (stat === null) return `pid ${pid}`;
  let waitsIn = "";
  try {
    waitsIn = readFileSync(`/proc/${pid}/wchan`, "utf8");
  } catch {
    // Gone, or a kernel that does not tell.
  }
  return `${JSON.stringify(stat.name)} (pid ${pid}, state ${stat.state}${/^\w{2,}$/.test(waitsIn) ? ` in ${waitsIn}` : ""})`;
}

function killOnce(layout: CgroupLayout, path: string): void {
  for (const hierarchy of layout.hierarchies) {
    if (hierarchy.version === 2 && writeIfThere(join(hierarchy.dir, path, "cgroup.kill"), "1") && layout.kind === "v2")
      return;
  }
  // Frozen, they cannot fork faster than we kill. v1 delivers the signal on thawing.
  freeze(layout, path, true);
  try {
    killListed(layout, path);
  } finally {
    freeze(layout, path, false);
  }
}

/** Lets the processes of a cgroup and below run again, which a killCgroup that was itself killed may have left frozen. */
export function thawCgroup(layout: CgroupLayout, path: string): void {
  checkPath(path);
  freeze(layout, path, false);
}

function freeze(layout: CgroupLayout, path: string, isFrozen: boolean): void {
  for (const hierarchy of layout.hierarchies) {
    const dir = join(hierarchy.dir, path);
    if (hierarchy.version === 2) writeIfThere(join(dir, "cgroup.freeze"), isFrozen ? "1" : "0");
    else if (!hierarchy.controllers.includes("freezer")) continue;
    else if (isFrozen) writeIfThere(join(dir, "freezer.state"), "FROZEN");
    // Those below too, which someone may have frozen by themselves.
    else for (const below of subtree(dir)) writeIfThere(join(below, "freezer.state"), "THAWED");
  }
}

function writeIfThere(file: string, text: string): boolean {
  try {
    // Not to create it: a fake tree, or a kernel without it.
    writeFileSync(file, text, { flag: "r+" });
    return true;
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENODEV", "EOPNOTSUPP", "ENOTSUP")) return false;
    throw error;
  }
}

function killListed(layout: CgroupLayout, path: string): void {
  const pidfds = new Map<number, number>();
  try {
    for (const pid of cgroupProcs(layout, path)) {
      try {
        pidfds.set(pid, openPidfd(pid));
      } catch (error) {
        if (!isErrno(error, "ESRCH", "EINVAL")) throw error;
      }
    }
    // Listed again after the fd was opened: so the fd is of a member, or of one that is dead.
    for (const pid of cgroupProcs(layout, path)) {
      const fd = pidfds.get(pid);
      if (fd !== undefined) signalPidfd(fd, 9);
    }
  } finally {
    for (const fd of pidfds.values()) closeFd(fd);
  }
}

/**
 * Removes a cgroup and those below it from every hierarchy, waiting a little where the last process has only just ended.
 * Missing is fine. Rejects with EBUSY when processes are in it after timeoutMs, and with the signal's reason.
 */
export async function removeCgroup(
  layout: CgroupLayout,
  path: string,
  { timeoutMs = 2000 }: WaitOptions = {},
  signal?: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 50)) {
    let refused: unknown;
    for (const dir of cgroupDirs(layout, path).flatMap((top) => subtree(top).reverse())) {
      try {
        rmdirSync(dir);
      } catch (error) {
        if (isErrno(error, "ENOENT", "ENODEV")) continue;
        if (!isErrno(error, "EBUSY", "ENOTEMPTY")) throw error;
        refused ??= error;
      }
    }
    if (refused === undefined) return;
    if (performance.now() > deadline) throw refused;
    await sleep(pauseMs, undefined, signal === undefined ? {} : { signal });
  }
}
