import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isErrno } from "@keelson/linux/errno.ts";
import type { RuntimeCommand } from "./runtime-command.ts";
import type { RuntimeContainer } from "./runtime.ts";

/** A process in a sandbox, with gVisor's numbers. */
interface InnerProcess {
  readonly pid: number;
  readonly parentPid: number;
}

/** More rounds would only help a command that forks faster than it can be stopped. */
const maxRounds = 3;

const timeoutMs = 10_000;

/**
 * Kills a command that was started in a container of a sandbox, with its descendants. Does nothing when the command has
 * not started yet or has ended.
 *
 * @param innerFile where `runsc exec` wrote the command's pid.
 */
export async function killRunscExec(runsc: RuntimeCommand, id: string, innerFile: string): Promise<void> {
  const root = Number.parseInt(read(innerFile), 10);
  if (!Number.isInteger(root)) return;
  const signal = AbortSignal.timeout(timeoutMs);
  const send = async (pid: number, name: string) =>
    void (await runsc.run(["kill", "--pid", String(pid), id, name], signal));
  // A stopped process cannot fork while its children are counted.
  const stopped = new Set<number>();
  for (let round = 0; round < maxRounds; round += 1) {
    const { code, stdout } = await runsc.run(["ps", id], signal);
    const running =
      code === 0 ? membersOf(root, parseProcesses(stdout.toString())).filter((pid) => !stopped.has(pid)) : [];
    if (running.length === 0) break;
    for (const pid of running) {
      await send(pid, "STOP");
      stopped.add(pid);
    }
  }
  for (const pid of stopped) await send(pid, "KILL");
}

/** Ends the commands that an earlier daemon was running in a container, and removes their files. */
export async function endRunscExecs(
  runsc: RuntimeCommand,
  { id, bundleDir }: Pick<RuntimeContainer, "id" | "bundleDir">,
): Promise<void> {
  const names = readdirSync(bundleDir).filter((name) => /^exec-\d+\.(json|pid|inner|log)$/.test(name));
  for (const name of names.filter((name) => name.endsWith(".inner")))
    await killRunscExec(runsc, id, join(bundleDir, name));
  for (const name of names) rmSync(join(bundleDir, name), { force: true });
}

/**
 * The processes in what `runsc ps` prints, a table with the command last:
 * `UID PID PPID C TTY STIME TIME CMD`.
 */
export function parseProcesses(table: string): InnerProcess[] {
  return table.split("\n").flatMap((line) => {
    const [, pid, parentPid] = /^\d+\s+(\d+)\s+(\d+)\s/.exec(line) ?? [];
    return pid === undefined ? [] : [{ pid: Number(pid), parentPid: Number(parentPid) }];
  });
}

/** A command and its descendants. A command has no parent in the container: a process that has one is another, which got its number. */
export function membersOf(root: number, processes: readonly InnerProcess[]): number[] {
  if (processes.find(({ pid }) => pid === root)?.parentPid !== 0) return [];
  const members = [root];
  for (const member of members)
    members.push(...processes.filter(({ parentPid }) => parentPid === member).map(({ pid }) => pid));
  return members;
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return "";
    throw error;
  }
}
