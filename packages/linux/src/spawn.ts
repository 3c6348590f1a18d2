import { closeSync, openSync } from "node:fs";
import { isErrno } from "./errno.ts";
import { native } from "./native.ts";
import { Poll, pollReadable } from "./poll.ts";
import { signalName, signalNumber } from "./signals.ts";

export interface SpawnOptions {
  /** A path, or a name to look up in the PATH of `env`. */
  file: string;
  /** Without argv[0]. */
  args?: readonly string[];
  /** Default: `file`. */
  argv0?: string;
  /** As an object, or as "NAME=value" lines when a name may occur twice. Default: that of this process. */
  env?: Readonly<Record<string, string | undefined>> | readonly string[];
  cwd?: string;
  /**
   * Index: fd in the child; value: fd of ours, which the caller still has to close, or /dev/null. Nothing else is open
   * in the child. Default for 0, 1 and 2: /dev/null.
   */
  fds?: readonly (number | "null")[];
  /** setsid(2): no terminal, and `killGroup` reaches its children. */
  newSession?: boolean;
  /**
   * With `newSession`: stdin, a terminal, becomes the session's controlling terminal, so that the keys for signals and
   * the terminal's hangup reach the child.
   */
  takesTerminal?: boolean;
  /** cgroup directories that the child enters before it does anything else. */
  cgroups?: readonly string[];
  /** Of the child and what it starts, -1000 to 1000; below ours only with CAP_SYS_RESOURCE. Default: ours. */
  oomScoreAdj?: number | undefined;
}

export interface ExitStatus {
  /** null when a signal ended it. */
  code: number | null;
  /** "SIGKILL"; null when it exited by itself. */
  signal: string | null;
  /** Of the child and the children that it waited for, wait4(2). */
  cpuUserUs: number;
  cpuSystemUs: number;
}

export interface Child {
  readonly pid: number;
  /** Closed when `exited` settles: duplicate it to keep it. */
  readonly pidfd: number;
  /**
   * Never rejects. Code and signal are both null when another part of this process has reaped the child, a bug there.
   */
  readonly exited: Promise<ExitStatus>;
  /** False when it has ended. Throws SystemError. */
  kill(signal?: string | number): boolean;
  /** The same for its process group, if it was started with `newSession`. */
  killGroup(signal?: string | number): boolean;
}

function signalOf(signal: string | number): number {
  const number = typeof signal === "number" ? signal : signalNumber(signal);
  if (number === undefined) throw new TypeError(`${signal} is not a signal`);
  return number;
}

function environmentOf(env: SpawnOptions["env"] = process.env): readonly string[] {
  if (Array.isArray(env)) return env as readonly string[];
  return Object.entries(env).flatMap(([name, value]) => (value === undefined ? [] : [`${name}=${value}`]));
}

/**
 * Starts a program at a cost that does not grow with this process's memory (clone(2), CLONE_VFORK), with default signal
 * dispositions and an empty signal mask. Only its pidfd is waited on, so Node's own children and ours do not interfere;
 * a worker that ends before its child leaves it unreaped. Throws SystemError, also when the program cannot be executed:
 * ENOENT, EACCES. It inherits our resource limits: Node has raised the soft RLIMIT_NOFILE to the hard one.
 */
export function spawn(options: SpawnOptions): Child {
  const given = options.fds ?? [];
  const wanted = Array.from({ length: Math.max(3, given.length) }, (_, fd) => given[fd] ?? "null");
  const nullFd = wanted.includes("null") ? openSync("/dev/null", "r+") : -1;
  let started: { pid: number; pidfd: number };
  try {
    started = native.spawn({
      file: options.file,
      argv: [options.argv0 ?? options.file, ...(options.args ?? [])],
      env: environmentOf(options.env),
      cwd: options.cwd ?? null,
      fds: Int32Array.from(wanted, (fd) => (fd === "null" ? nullFd : fd)),
      newSession: options.newSession ?? false,
      cgroupProcs: (options.cgroups ?? []).map((dir) => `${dir}/cgroup.procs`),
      oomScoreAdj: options.oomScoreAdj === undefined ? null : String(options.oomScoreAdj),
      takesTerminal: options.takesTerminal ?? false,
    });
  } finally {
    if (nullFd >= 0) closeSync(nullFd);
  }
  const { pid, pidfd } = started;
  let isReaped = false;
  const exited = new Promise<ExitStatus>((resolve) => {
    const poll = new Poll(pidfd, () => {
      poll[Symbol.dispose]();
      isReaped = true;
      resolve(reap(pidfd));
    });
    poll.want(pollReadable);
  });
  return {
    pid,
    pidfd,
    exited,
    kill: (signal = "SIGTERM") => !isReaped && native.pidfdSendSignal(pidfd, signalOf(signal)),
    killGroup(signal = "SIGTERM") {
      // Until it is reaped, no other process gets its pid, which is the number of its group.
      if (isReaped || !options.newSession) return false;
      try {
        return process.kill(-pid, signalOf(signal));
      } catch (error) {
        if (isErrno(error, "ESRCH")) return false;
        throw error;
      }
    },
  };
}

function reap(pidfd: number): ExitStatus {
  try {
    const status = native.waitPidfd(pidfd);
    if (status === null) return { code: null, signal: null, cpuUserUs: 0, cpuSystemUs: 0 };
    const { code, signal, cpuUserUs, cpuSystemUs } = status;
    return {
      code: signal === 0 ? code : null,
      signal: signal === 0 ? null : signalName(signal),
      cpuUserUs,
      cpuSystemUs,
    };
  } catch (error) {
    if (isErrno(error, "ECHILD")) return { code: null, signal: null, cpuUserUs: 0, cpuSystemUs: 0 };
    throw error;
  } finally {
    native.close(pidfd);
  }
}
