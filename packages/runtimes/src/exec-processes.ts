import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isErrno } from "@keelson/linux/errno.ts";
import { signalProcess } from "@keelson/linux/process.ts";
import { descendants, type ProcessStat, readCgroup, readProcesses, sessionMembers } from "@keelson/linux/procfs.ts";
import { readPid } from "./pid-file.ts";

const sigkill = 9;
const sigstop = 19;

/** More rounds would only help a command that forks faster than it can be stopped. */
const maxRounds = 5;

/**
 * Kills a command that was started in a container, with its descendants and its session. Does nothing when the command
 * has not started yet or has ended.
 *
 * @param processes all that may belong to it: those of the container, which are far fewer than the machine's.
 * @param isWanted whether to kill the process that the file names: after a restart its number may belong to another.
 */
export function killExec(
  pidFile: string,
  processes: () => ProcessStat[],
  isWanted: (pid: number) => boolean = () => true,
): void {
  const pid = readPid(pidFile);
  if (pid === undefined || !isWanted(pid)) return;
  const stopped = new Map<number, ProcessStat>();
  // A stopped process cannot fork while its children are counted; a few rounds catch what it forked before. None is killed
  // until all are known: whose children the orphans of a dead process were, nobody can tell.
  for (let round = 0; round < maxRounds; round += 1) {
    const found = membersOf(pid, processes()).filter((p) => !stopped.has(p.pid));
    if (found.length === 0) break;
    for (const p of found) {
      signalProcess(p.pid, p.startTicks, sigstop);
      stopped.set(p.pid, p);
    }
  }
  for (const p of stopped.values()) signalProcess(p.pid, p.startTicks, sigkill);
}

/**
 * Ends the commands that an earlier daemon was running in a container, as their callers and timeouts are gone with it, and
 * removes their files.
 */
export function endExecsIn(bundleDir: string, containerId: string): void {
  for (const name of namesIn(bundleDir)) {
    if (!/^exec-\d+\.(json|pid|sock|log)$/.test(name)) continue;
    const file = join(bundleDir, name);
    if (name.endsWith(".pid")) killExec(file, readProcesses, (pid) => isInCgroupOf(pid, containerId));
    rmSync(file, { force: true });
  }
}

function membersOf(pid: number, processes: ProcessStat[]): ProcessStat[] {
  const root = processes.filter((p) => p.pid === pid);
  const all = new Map(
    [...root, ...descendants(pid, processes), ...sessionMembers(pid, processes)].map((p) => [p.pid, p]),
  );
  return [...all.values()].filter((p) => p.state !== "Z");
}

/** The path of a container's cgroup has its id in it, with either driver. */
function isInCgroupOf(pid: number, containerId: string): boolean {
  return (readCgroup(pid) ?? []).some((c) => c.path.includes(containerId));
}

function namesIn(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}
