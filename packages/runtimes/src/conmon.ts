import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Code, StatusError } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { signalProcess, watchProcess } from "@keelson/linux/process.ts";
import { isProcessAlive, processStartTicks, readCommandLine, readProcesses, readStat } from "@keelson/linux/procfs.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import { connectSeqpacket } from "@keelson/linux/seqpacket.ts";
import { type Child, spawn } from "@keelson/linux/spawn.ts";
import { settles, startGraceMs } from "./gentle-abort.ts";
import { MonitorPipe } from "./monitor-pipe.ts";
import { MonitorWatch } from "./monitor-watch.ts";
import { openLogFile, readyLogFile } from "./open-log-file.ts";
import { readPid } from "./pid-file.ts";
import { isExecutable } from "./runtime-command.ts";
import type { ExitReport, RunningProcesses, RuntimeContainer } from "./runtime.ts";

/** The runtime that conmon calls to create a container. */
interface MonitoredRuntime {
  readonly path: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly systemdCgroup: boolean;
}

const sigkill = 9;

/**
 * How long a monitor may run on after its container is gone, in ms: it still writes to the log what is left in the
 * pipes.
 */
const lingerMs = 2000;

/** The longest pause before looking again whether a monitor has reopened the log, in ms. */
const maxReopenPauseMs = 250;

/** conmon's message on its control FIFO to reopen the log (conmon's ctrl.c). */
const reopenLogsMessage = "2 0 0\n";

/**
 * conmon, one for each container: it holds the streams, writes the log and the exit code, and outlives the daemon.
 * Whatever runtime it calls, a running container is reached through files in the bundle.
 */
export class Conmon {
  readonly #path: string;
  readonly #exitsDir: string;

  /**
   * @param path absolute.
   * @param exitsDir where monitors write exit codes, to a file for each container.
   */
  constructor(path: string, exitsDir: string) {
    this.#path = path;
    this.#exitsDir = exitsDir;
    mkdirSync(exitsDir, { recursive: true, mode: 0o700 });
  }

  /**
   * Has the runtime create a container whose spec is in its bundle, and returns when that is done; `main` is the
   * process that the runtime named. Throws Internal with the runtime's words; then the monitor is gone, and the caller
   * removes what exists of the container.
   */
  async create(
    container: RuntimeContainer,
    runtime: MonitoredRuntime,
    signal: AbortSignal,
  ): Promise<RunningProcesses & { readonly main: ProcessIdentity }> {
    if (container.logPath !== "") closeSync(openLogFile(container.logPath));
    rmSync(this.#exitFile(container.id), { force: true });
    using pipe = new MonitorPipe();
    const monitor = this.#start(container, runtime, pipe);
    try {
      const main = await pipe.pid(signal);
      return { main: identify(main), monitor: identify(monitor.pid) };
    } catch (error) {
      await settles(Promise.race([pipe.pid(AbortSignal.timeout(startGraceMs)), monitor.exited]));
      monitor.kill("SIGKILL");
      throw error;
    }
  }

  #start(container: RuntimeContainer, runtime: MonitoredRuntime, pipe: MonitorPipe): Child {
    const { id, bundleDir } = container;
    const args = ["--api-version", "1", "--sync", "--cid", id, "--name", id, "--cuuid", id];
    args.push(
      "--runtime",
      runtime.path,
      "--bundle",
      bundleDir,
      "--container-pidfile",
      pidFile(bundleDir),
      "--conmon-pidfile",
      monitorPidFile(bundleDir),
    );
    args.push("--log-path", container.logPath === "" ? "none" : `k8s-file:${container.logPath}`, "--no-sync-log");
    args.push("--exit-dir", this.#exitsDir, "--full-attach", "--log-level", "error");
    for (const arg of runtime.args) args.push("--runtime-arg", arg);
    if (container.tty) args.push("--terminal");
    if (container.stdin) args.push("--stdin");
    if (container.stdin && !container.stdinOnce) args.push("--leave-stdin-open");
    if (runtime.systemdCgroup) args.push("--systemd-cgroup");
    // conmon leaves its `oom` file in its working directory.
    const options = {
      args,
      cwd: bundleDir,
      // In the C locale conmon takes no argument with a letter beyond ASCII, such as a log's path.
      env: { PATH: process.env["PATH"], LC_ALL: "C.UTF-8", _OCI_SYNCPIPE: "3", ...runtime.env },
      newSession: true,
    };
    try {
      const child = spawn({ file: this.#path, ...options, fds: ["null", "null", "null", pipe.writeFd] });
      pipe.handedOver();
      return child;
    } catch (error) {
      if (isExecutable(this.#path)) throw error;
      throw new StatusError(
        Code.FailedPrecondition,
        `the monitor ${this.#path} is not there any more; install the package conmon again`,
        error,
      );
    }
  }

  attach(container: RuntimeContainer): number {
    try {
      return connectSeqpacket(container.bundleDir, "attach");
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ECONNREFUSED")) throw error;
      throw new StatusError(
        Code.FailedPrecondition,
        `attach to container ${container.id}: its monitor is not there`,
        error,
      );
    }
  }

  async resizeTerminal(container: RuntimeContainer, { rows, columns }: TerminalSize): Promise<void> {
    await using control = await openControl(join(container.bundleDir, "ctl"));
    await control.write(`1 ${rows} ${columns}\n`);
  }

  async reopenLog(container: RuntimeContainer, monitor: ProcessIdentity, signal: AbortSignal): Promise<void> {
    // conmon would replace a file that is still in place, and its content would be lost.
    if (isLoggingTo(monitor, container.logPath)) return;
    using ready = readyLogFile(container.logPath);
    await using control = await openControl(join(container.bundleDir, "ctl"));
    await control.write(reopenLogsMessage);
    ready.taken();
    // A working monitor is done at the second look; a stopped one must not keep the daemon busy.
    for (let pauseMs = 1; !isLoggingTo(monitor, container.logPath); pauseMs = Math.min(2 * pauseMs, maxReopenPauseMs)) {
      if (!isProcessAlive(monitor.pid, monitor.startTicks)) {
        throw new StatusError(
          Code.FailedPrecondition,
          `reopen the log of container ${container.id}: its monitor has ended`,
        );
      }
      await delay(pauseMs, undefined, { signal });
    }
  }

  /** See `Runtime.findProcesses`. */
  findProcesses({ bundleDir }: Pick<RuntimeContainer, "bundleDir">): RunningProcesses | undefined {
    const monitor = monitorOf(bundleDir);
    if (monitor === undefined) return undefined;
    const pid = readPid(pidFile(bundleDir));
    const main = pid === undefined ? null : readStat(pid);
    // Only its monitor's child: another process may have that number now.
    return main?.parentPid === monitor.pid ? { main: identityOf(main), monitor } : { monitor };
  }

  /**
   * conmon ends right after it has written the exit code, so by its own end the container's is known, and none is
   * missed. One that does not end once the container's first process is gone is killed; see MonitorWatch.
   */
  watch(
    { bundleDir }: Pick<RuntimeContainer, "bundleDir">,
    { main, monitor }: RunningProcesses,
    onEnd: () => void,
  ): Disposable {
    return new MonitorWatch({ main: main ?? firstProcess(bundleDir, monitor), monitor }, onEnd);
  }

  hasEnded({ monitor }: RunningProcesses): boolean {
    return !isProcessAlive(monitor.pid, monitor.startTicks);
  }

  exitOf(container: RuntimeContainer): ExitReport | undefined {
    const file = this.#exitFile(container.id);
    try {
      const exitCode = Number.parseInt(readFileSync(file, "utf8"), 10);
      const finishedAtNs = statSync(file, { bigint: true }).mtimeNs;
      if (!Number.isInteger(exitCode)) return undefined;
      return { exitCode, finishedAtNs, oomKilled: existsSync(join(container.bundleDir, "oom")) };
    } catch (error) {
      if (isErrno(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  /**
   * Forgets a container that is gone: removes its exit code once its monitor has ended and cannot write one any more.
   */
  async forget({ id, bundleDir }: Pick<RuntimeContainer, "id" | "bundleDir">): Promise<void> {
    // Without its pid file, which goes with the bundle, all processes are looked at, unless it has reported already.
    const isNamed = existsSync(monitorPidFile(bundleDir)) || existsSync(this.#exitFile(id));
    const monitor = isNamed ? monitorOf(bundleDir) : monitorFor(id);
    if (monitor !== undefined && !(await endsWithin(monitor, lingerMs))) {
      signalProcess(monitor.pid, monitor.startTicks, sigkill);
      await endsWithin(monitor, lingerMs);
    }
    rmSync(this.#exitFile(id), { force: true });
  }

  #exitFile(id: string): string {
    return join(this.#exitsDir, id);
  }
}

/** The file with the pid that the runtime named. */
export function pidFile(bundleDir: string): string {
  return join(bundleDir, "pidfile");
}

function monitorPidFile(bundleDir: string): string {
  return join(bundleDir, "conmon.pid");
}

/** What the runtime named as the container's first process: that, or what stands for it, as with gVisor. */
function firstProcess(bundleDir: string, monitor: ProcessIdentity): ProcessIdentity | undefined {
  const pid = readPid(pidFile(bundleDir));
  if (pid === undefined) return undefined;
  const stat = readStat(pid);
  // If it is no child of the monitor, it has ended, and another process may have that number now.
  return stat?.parentPid === monitor.pid ? identityOf(stat) : { pid, startTicks: -1 };
}

/** The monitor that runs for a bundle. Its pid comes from a file: another process may have that number now. */
function monitorOf(bundleDir: string): ProcessIdentity | undefined {
  const pid = readPid(monitorPidFile(bundleDir));
  const stat = pid === undefined ? null : readStat(pid);
  return stat?.name === "conmon" && stat.state !== "Z" ? identityOf(stat) : undefined;
}

/** The monitor that runs for a container, by its command line. */
function monitorFor(id: string): ProcessIdentity | undefined {
  const monitor = readProcesses().find(
    ({ pid, name, state }) => name === "conmon" && state !== "Z" && readCommandLine(pid).includes(id),
  );
  return monitor === undefined ? undefined : identityOf(monitor);
}

function identityOf({ pid, startTicks }: ProcessIdentity): ProcessIdentity {
  return { pid, startTicks };
}

async function endsWithin({ pid, startTicks }: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  using _ = watchProcess(pid, startTicks, () => resolve(true));
  const timer = setTimeout(() => resolve(false), timeoutMs);
  return await promise.finally(() => clearTimeout(timer));
}

function identify(pid: number): ProcessIdentity {
  const startTicks = processStartTicks(pid);
  if (startTicks === null) throw new StatusError(Code.Internal, `process ${pid} ended at once`);
  return { pid, startTicks };
}

/** Whether the monitor has this very file open. By inode: /proc shows a renamed file under its new name. */
function isLoggingTo(monitor: ProcessIdentity, logPath: string): boolean {
  if (!existsSync(logPath)) return false;
  const fds = `/proc/${monitor.pid}/fd`;
  const target = statSync(logPath, { bigint: true });
  try {
    return readdirSync(fds).some((fd) => {
      if (!readlinkSync(join(fds, fd)).startsWith("/")) return false;
      const open = statSync(join(fds, fd), { bigint: true });
      return open.ino === target.ino && open.dev === target.dev;
    });
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH")) return false;
    throw error;
  }
}

/** Opens conmon's control FIFO for writing. Without a reader, open(2) fails with ENXIO instead of waiting. */
async function openControl(path: string): Promise<FileHandle> {
  try {
    return await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isErrno(error, "ENXIO", "ENOENT"))
      throw new StatusError(Code.FailedPrecondition, `${path}: the container's monitor is not there`, error);
    throw error;
  }
}
