import { readFileSync, readdirSync } from "node:fs";
import { isErrno } from "./errno.ts";

/** The fields in use of /proc/PID/stat, proc_pid_stat(5). Ticks are 1/100 s on every Linux that Node runs on. */
export interface ProcessStat {
  pid: number;
  /** Chosen by the process: may contain anything, parentheses and newlines included. */
  name: string;
  /** "R", "S", "D", "Z", "X" … */
  state: string;
  parentPid: number;
  session: number;
  /** Since boot. Together with the pid it identifies a process for ever. */
  startTicks: number;
}

/** Throws SyntaxError. */
export function parseStat(text: string): ProcessStat {
  const open = text.indexOf("(");
  const close = text.lastIndexOf(")");
  const fields = text
    .slice(close + 2)
    .trim()
    .split(" ");
  const number = (field: number): number => Number(fields[field - 3]);
  const stat = {
    pid: Number(text.slice(0, open)),
    name: text.slice(open + 1, close),
    state: fields[0] ?? "",
    parentPid: number(4),
    session: number(6),
    startTicks: number(22),
  };
  if (
    open < 1 ||
    close < open ||
    !/^[A-Za-z]$/.test(stat.state) ||
    Object.values(stat).some((value) => Number.isNaN(value))
  ) {
    throw new SyntaxError("not the content of /proc/PID/stat");
  }
  return stat;
}

/** The fields in use of /proc/PID/status, proc_pid_status(5). */
export interface ProcessStatus {
  /** Real, effective, saved, file system. */
  uids: number[];
  gids: number[];
  groups: number[];
  /** One for each PID namespace, from ours inwards. */
  pids: number[];
  capabilities: { inheritable: bigint; permitted: bigint; effective: bigint; bounding: bigint; ambient: bigint };
  noNewPrivileges: boolean;
}

/** Fields that an older kernel or a zombie lacks are empty or 0. */
export function parseStatus(text: string): ProcessStatus {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    // The first line of a name counts. Name comes first, with its newlines escaped, so it cannot forge another field.
    if (colon > 0 && !fields.has(line.slice(0, colon))) fields.set(line.slice(0, colon), line.slice(colon + 1).trim());
  }
  const numbers = (name: string): number[] =>
    (fields.get(name) ?? "")
      .split(/\s+/)
      .filter((word) => /^\d+$/.test(word))
      .map(Number);
  const mask = (name: string): bigint =>
    /^[0-9a-f]{1,16}$/.test(fields.get(name) ?? "") ? BigInt(`0x${fields.get(name)}`) : 0n;
  return {
    uids: numbers("Uid"),
    gids: numbers("Gid"),
    groups: numbers("Groups"),
    pids: numbers("NSpid"),
    capabilities: {
      inheritable: mask("CapInh"),
      permitted: mask("CapPrm"),
      effective: mask("CapEff"),
      bounding: mask("CapBnd"),
      ambient: mask("CapAmb"),
    },
    noNewPrivileges: numbers("NoNewPrivs")[0] === 1,
  };
}

/** One line of /proc/PID/cgroup, cgroups(7). */
export interface ProcessCgroup {
  /** 0 is cgroup v2. */
  hierarchy: number;
  /** Empty for v2 and for named hierarchies. */
  controllers: string[];
  /** "systemd" of "name=systemd" */
  name?: string;
  path: string;
}

export function parseCgroup(text: string): ProcessCgroup[] {
  const result: ProcessCgroup[] = [];
  for (const line of text.split("\n")) {
    const match = /^(\d+):([^:]*):(\/.*)$/.exec(line);
    if (match === null) continue;
    const [, hierarchy, list = "", path = ""] = match;
    const names = list.split(",").filter((name) => name !== "");
    const named = names.find((name) => name.startsWith("name="));
    result.push({
      hierarchy: Number(hierarchy),
      controllers: names.filter((name) => name !== named),
      ...(named === undefined ? {} : { name: named.slice(5) }),
      path,
    });
  }
  return result;
}

/** The text of a process's file, or null when the process is gone. */
function readProcessFile(pid: number, name: string): string | null {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH")) return null;
    throw error;
  }
}

/** Null when the process is gone; a zombie is not. */
export function readStat(pid: number): ProcessStat | null {
  const text = readProcessFile(pid, "stat");
  return text === null ? null : parseStat(text);
}

/** Null when the process is gone. */
export function readStatus(pid: number): ProcessStatus | null {
  const text = readProcessFile(pid, "status");
  return text === null ? null : parseStatus(text);
}

/** Null when the process is gone. */
export function readCgroup(pid: number): ProcessCgroup[] | null {
  const text = readProcessFile(pid, "cgroup");
  return text === null ? null : parseCgroup(text);
}

/** The arguments of a process, which may have changed them, and an empty string; none when it is gone. */
export function readCommandLine(pid: number): string[] {
  return readProcessFile(pid, "cmdline")?.split("\0") ?? [];
}

/** When the process started, in ticks since boot, or null when it is gone. */
export function processStartTicks(pid: number): number | null {
  return readStat(pid)?.startTicks ?? null;
}

/** Whether exactly the process that was recorded runs; one that has ended and waits to be reaped does not. */
export function isProcessAlive(pid: number, startTicks: number): boolean {
  const stat = readStat(pid);
  return stat !== null && stat.startTicks === startTicks && stat.state !== "Z" && stat.state !== "X";
}

/** Different after each boot of the host; start ticks of another boot mean nothing. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** All processes of our PID namespace, but those that end while they are read. */
export function readProcesses(): ProcessStat[] {
  return readdirSync("/proc")
    .filter((name) => /^[1-9]\d*$/.test(name))
    .flatMap((name) => readStat(Number(name)) ?? []);
}

/**
 * The descendants of a process, parents before their children, without itself. Orphans do not belong to it any more.
 */
export function descendants(pid: number, processes: ProcessStat[] = readProcesses()): ProcessStat[] {
  const found: ProcessStat[] = [];
  const seen = new Set([pid]);
  for (let parents = [pid]; parents.length > 0;) {
    const next = processes.filter((process) => parents.includes(process.parentPid) && !seen.has(process.pid));
    for (const process of next) seen.add(process.pid);
    found.push(...next);
    parents = next.map((process) => process.pid);
  }
  return found;
}

/** The processes of a session, setsid(2), orphans included. */
export function sessionMembers(session: number, processes: ProcessStat[] = readProcesses()): ProcessStat[] {
  return processes.filter((process) => process.session === session);
}
