import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isErrno } from "./errno.ts";
import { native } from "./native.ts";
import { closeFd } from "./pipe.ts";
import { openPidfd, signalPidfd } from "./process.ts";
import { readStat } from "./procfs.ts";

/** One mounted tree of cgroups. */
export interface CgroupHierarchy {
  version: 1 | 2;
  /** Where it is mounted. */
  dir: string;
  /** On v2, those that its root can pass down. Empty for a named hierarchy. */
  controllers: readonly string[];
  /** "systemd" of "name=systemd" */
  name?: string;
}

/**
 * How a host mounts cgroups: one v2 tree, a v1 tree for each controller, or v1 trees and beside them a v2 tree with the
 * remaining controllers. A cgroup path, "/kubepods/pod123", means the same relative path in each of them.
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

/** Reads the layout below root, cgroups(7). Throws Error when no cgroups are mounted there. */
export function detectCgroups(root = "/sys/fs/cgroup"): CgroupLayout {
  const v2 = (dir: string): CgroupHierarchy => ({
    version: 2,
    dir,
    controllers: words(readFileSync(join(dir, "cgroup.controllers"), "utf8")),
  });
  // Every v2 cgroup has this file, and no v1 cgroup does.
  if (existsSync(join(root, "cgroup.controllers"))) return { kind: "v2", root, hierarchies: [v2(root)] };

  const hierarchies: CgroupHierarchy[] = [];
  // Skips symlinks (cpu → cpu,cpuacct) and directories where nothing is mounted.
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

/** Throws TypeError for a path that means the root cgroup, with all of the host in it, or leads out of the tree. */
export function checkPath(path: string): void {
  const segments = path.split("/").slice(1);
  if (!path.startsWith("/") || segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    throw new TypeError(`${JSON.stringify(path)} is not the path of a cgroup below the root`);
  }
}

/**
 * The directories of a cgroup, one in each hierarchy, whether or not they exist: a process that joins it enters them
 * all.
 */
export function cgroupDirs(layout: CgroupLayout, path: string): string[] {
  checkPath(path);
  return layout.hierarchies.map((hierarchy) => join(hierarchy.dir, path));
}

/** The directory with a controller's files; undefined when no hierarchy of the host has that controller. */
export function controllerDir(layout: CgroupLayout, path: string, controller: string): string | undefined {
  checkPath(path);
  const hierarchy = layout.hierarchies.find((candidate) => candidate.controllers.includes(controller));
  return hierarchy === undefined ? undefined : join(hierarchy.dir, path);
}

/**
 * Creates a cgroup and its parents in every hierarchy. It may exist already. On v2 it gets the controllers of its
 * parents, so that limits can be set; on v1 a new cpuset copies its parent's CPUs, without which no process could
 * enter. Throws SystemError, having removed what it created.
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
        // It is in use already; the first error is the one that counts.
      }
    }
    throw error;
  }
}

/** Lets the processes of a cgroup, which exists, open no device any more. Throws SystemError. */
export function denyDevices(layout: CgroupLayout, path: string): void {
  checkPath(path);
  const v1 = layout.hierarchies.find(({ version, controllers }) => version === 1 && controllers.includes("devices"));
  if (v1 !== undefined) return writeFileSync(join(v1.dir, path, "devices.deny"), "a");
  // A machine that has neither can limit the devices of no container.
  const v2 = layout.hierarchies.find(({ version }) => version === 2);
  if (v2 !== undefined) native.denyDevices(join(v2.dir, path));
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
      // One by one, because a refusal (of cpu while there are realtime processes, or in a threaded subtree) must not
      // take the others with it. Setting a limit of a missing controller then fails with ENOENT.
      if (!isErrno(error, "EBUSY", "EINVAL", "ENOENT", "EOPNOTSUPP", "EPERM", "EACCES")) throw error;
    }
  }
}

function inherit(parent: string, dir: string, name: string): void {
  if (readFileSync(join(dir, name), "utf8").trim() === "")
    writeFileSync(join(dir, name), readFileSync(join(parent, name), "utf8").trim());
}

/** A directory and all below it, parents first; empty when it is gone. */
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
    // 0 stands for a process outside our PID namespace.
    return words(readFileSync(join(dir, "cgroup.procs"), "utf8"))
      .map(Number)
      .filter((pid) => pid > 0);
  } catch (error) {
    // EOPNOTSUPP: a threaded cgroup, whose processes are listed in its domain.
    if (isErrno(error, "ENOENT", "ENODEV", "EOPNOTSUPP", "ENOTSUP")) return [];
    throw error;
  }
}

/** The processes in a cgroup and below, in any of the hierarchies, in ascending order. */
export function cgroupProcs(layout: CgroupLayout, path: string): number[] {
  const pids = new Set(cgroupDirs(layout, path).flatMap(subtree).flatMap(procsOf));
  return [...pids].sort((a, b) => a - b);
}

/** Whether there is no process in a cgroup or below. True when it does not exist. */
export function isCgroupEmpty(layout: CgroupLayout, path: string): boolean {
  checkPath(path);
  if (layout.kind !== "v2") return cgroupProcs(layout, path).length === 0;
  try {
    // Includes processes outside our PID namespace.
    return /^populated 0$/m.test(readFileSync(join(layout.root, path, "cgroup.events"), "utf8"));
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENODEV")) return true;
    throw error;
  }
}

export interface WaitOptions {
  timeoutMs?: number;
}

/**
 * Kills every process in a cgroup and below, and waits until none is left. It is no error when the cgroup does not
 * exist. Rejects with code EBUSY when some are left after timeoutMs (in uninterruptible sleep), and with the signal's
 * reason.
 *
 * @param options `timeoutMs`: 5000 by default
 */
export async function killCgroup(
  layout: CgroupLayout,
  path: string,
  { timeoutMs = 5000 }: WaitOptions = {},
  signal?: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  // The pauses grow, because each check takes hundreds of system calls on v1.
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

/** Such as `"dd" (pid 42, state D in nfs_wait_bit_killable)`, with what the kernel says that it waits for. */
function describeProcess(pid: number): string {
  const stat = readStat(pid);
  if (stat === null) return `pid ${pid}`;
  let waitsIn = "";
  try {
    waitsIn = readFileSync(`/proc/${pid}/wchan`, "utf8");
  } catch {
    // It is gone, or this kernel does not say.
  }
  return `${JSON.stringify(stat.name)} (pid ${pid}, state ${stat.state}${/^\w{2,}$/.test(waitsIn) ? ` in ${waitsIn}` : ""})`;
}

function killOnce(layout: CgroupLayout, path: string): void {
  for (const hierarchy of layout.hierarchies) {
    if (hierarchy.version === 2 && writeIfThere(join(hierarchy.dir, path, "cgroup.kill"), "1") && layout.kind === "v2")
      return;
  }
  // While they are frozen, they cannot fork faster than we kill. v1 delivers the signal when they are thawed.
  freeze(layout, path, true);
  try {
    killListed(layout, path);
  } finally {
    freeze(layout, path, false);
  }
}

/**
 * Lets the processes of a cgroup and below run again, which a process killed during killCgroup may have left frozen.
 */
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
    // Those below as well, which may have been frozen separately.
    else for (const below of subtree(dir)) writeIfThere(join(below, "freezer.state"), "THAWED");
  }
}

function writeIfThere(file: string, text: string): boolean {
  try {
    // r+ does not create the file, which a fake tree or an older kernel lacks.
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
    // A pid that is still listed after its fd was opened: the fd is that of a member, or of one that has died.
    for (const pid of cgroupProcs(layout, path)) {
      const fd = pidfds.get(pid);
      if (fd !== undefined) signalPidfd(fd, 9);
    }
  } finally {
    for (const fd of pidfds.values()) closeFd(fd);
  }
}

/**
 * Removes a cgroup and those below it from every hierarchy, and waits a little where the last process has only just
 * ended. It is no error when the cgroup does not exist. Rejects with EBUSY when it still has processes after timeoutMs,
 * and with the signal's reason.
 *
 * @param options `timeoutMs`: 2000 by default
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
