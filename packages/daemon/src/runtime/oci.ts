import { type FileHandle, open } from "node:fs/promises";
import { accessSync, chownSync, constants, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statfsSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { namingFile } from "@keelson/base/exhaustion.ts";
import type { Log } from "@keelson/base/log.ts";
import { Code, codeOf, messageOf, StatusError, wrapError } from "@keelson/base/status.ts";
import { type CgroupLayout, cgroupProcs } from "@keelson/linux/cgroup.ts";
import { ConsoleSocket } from "@keelson/linux/console-socket.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { isProcessAlive, type ProcessStat, processStartTicks, readStat } from "@keelson/linux/procfs.ts";
import { signalProcess, watchProcess } from "@keelson/linux/process.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import { run, type RunResult } from "@keelson/linux/run.ts";
import { connectSeqpacket } from "@keelson/linux/seqpacket.ts";
import { type Child, spawn, type SpawnOptions } from "@keelson/linux/spawn.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { makeDirectories } from "../make-directories.ts";
import { specFile } from "../paths.ts";
import type { ProcessIdentity } from "../pod/state.ts";
import { endExecsIn, killExec } from "./exec-processes.ts";
import { type Launched, runOnConsole, runOnPipes, runOnTerminal } from "./exec-streams.ts";
import { GentleAbort, RuntimeEnd, settles, startGraceMs } from "./gentle-abort.ts";
import { MonitorPipe, runtimeMessage } from "./monitor-pipe.ts";
import type { ExecResult, ExitReport, RunningExec, RunningProcesses, Runtime, RuntimeContainer, RuntimeView } from "./runtime.ts";

export interface OciRuntimeOptions {
  /** The handler's name, for errors. */
  readonly name: string;
  /** Absolute path of the runtime's binary. */
  readonly path: string;
  /** Where the runtime keeps its state. */
  readonly root: string;
  readonly args: readonly string[];
  /** Absolute path of conmon. */
  readonly conmon: string;
  /** Where conmon writes exit codes, a file for each container. */
  readonly exitsDir: string;
  readonly systemdCgroup: boolean;
  readonly cgroups: CgroupLayout;
  readonly log: Log;
}

/** What is kept of each stream of an exec, in bytes; both peers cap ExecSync so. */
const maxExecOutputBytes = 16 * 1024 * 1024;

/** How often a monitor is looked at that does not open the log anew, in ms. */
const maxReopenPauseMs = 250;

/** One call of the runtime's exec. */
interface ExecInvocation {
  /** What its files in the bundle are called. */
  readonly name: string;
  /** The command line, with more options of `exec` and before it. */
  readonly command: (options?: readonly string[], runtimeOptions?: readonly string[]) => Pick<SpawnOptions, "file" | "args" | "env" | "oomScoreAdj">;
}
type Finished = Pick<RunResult, "code" | "stdout" | "stderr">;

/**
 * How long a runtime has for its own end after its command was killed, in ms. It reaps the command; killed before that,
 * a zombie would be in the container for as long as the machine's init takes.
 */
const reapGraceMs = 1000;

/** conmon's message on its control FIFO that means: open the log anew (conmon's ctrl.c). */
const reopenLogsMessage = "2 0 0\n";

/**
 * An OCI runtime (crun, runc) with one conmon for each container: conmon holds the streams, writes
 * the log and the exit code, and outlives the daemon.
 */
export class OciRuntime implements Runtime {
  readonly #o: OciRuntimeOptions;
  #execs = 0;
  /** Whether exec hands a terminal out and waits for the command all the same: crun does. */
  #handsOutTerminals = true;

  constructor(options: OciRuntimeOptions) {
    this.#o = options;
    mkdirSync(options.root, { recursive: true, mode: 0o700 });
    mkdirSync(options.exitsDir, { recursive: true, mode: 0o700 });
    // A daemon before this one may have ended between.
    keepNullDevice();
  }

  async create(container: RuntimeContainer, spec: Spec, signal: AbortSignal): Promise<RunningProcesses> {
    writeJson(specFile(container.bundleDir), spec);
    if (container.logPath !== "") makeDirectories(dirname(container.logPath), 0o755);
    rmSync(this.#exitFile(container.id), { force: true });
    using pipe = new MonitorPipe();
    const monitor = this.#startMonitor(container, pipe);
    try {
      const main = await pipe.pid(signal);
      keepNullDevice();
      return { main: identify(main), monitor: identify(monitor.pid) };
    } catch (error) {
      // What is left of a half-made container must not outlive the call, whatever stopped it.
      await settles(Promise.race([pipe.pid(AbortSignal.timeout(startGraceMs)), monitor.exited]));
      monitor.kill("SIGKILL");
      await this.delete(container, AbortSignal.timeout(30_000));
      // The log and the writable layer may be on other file systems than the bundle.
      const dirs = [container.bundleDir, join(container.bundleDir, "rootfs"), ...(container.logPath === "" ? [] : [dirname(container.logPath)])];
      throw wrapError(`create container ${container.id} with ${this.#o.name} (${this.#o.path})`, this.#explained(error, dirs));
    }
  }

  async start({ id }: RuntimeContainer, { main }: RunningProcesses, signal: AbortSignal): Promise<void> {
    using ending = abortAtEnd(main);
    const result = await this.#command(["start", id], AbortSignal.any([signal, ending.signal]));
    if (result.code !== 0) throw this.#explained(this.#failure(`start container ${id}`, result), [this.#o.root]);
  }

  signal(_container: RuntimeContainer, { main }: RunningProcesses, number: number): Promise<void> {
    if (main !== undefined) signalProcess(main.pid, main.startTicks, number);
    return Promise.resolve();
  }

  async update(container: RuntimeContainer, resources: ResourcesSpec, signal: AbortSignal): Promise<void> {
    if (Object.keys(resources).length === 0) return;
    const file = join(container.bundleDir, "resources.json");
    writeJson(file, resources);
    const result = await this.#command(["update", "--resources", file, container.id], signal);
    signal.throwIfAborted();
    if (result.code !== 0) throw this.#failure("set its limits", result, Code.FailedPrecondition);
  }

  async exec(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal): Promise<ExecResult> {
    const result = await this.#exec(container, process, signal, ({ command }, signal) =>
      // stdin: not /dev/null, see keepNullDevice.
      run({ ...command(), stdin: new Uint8Array(), stdoutLimitBytes: maxExecOutputBytes, stderrLimitBytes: maxExecOutputBytes }, signal),
    );
    return { exitCode: exitCodeOf(result), stdout: result.stdout, stderr: result.stderr, truncated: result.truncated };
  }

  async execStreams(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal): Promise<RunningExec> {
    if (process.terminal !== true) {
      return await this.#launch(container, process, signal, (invocation, launched, signal) => runOnPipes(invocation.command(), launched, signal));
    }
    if (!this.#handsOutTerminals) return await this.#execOnTerminal(container, process, signal);
    try {
      return await this.#launch(container, process, signal, async ({ name, command }, launched, signal) => {
        using socket = new ConsoleSocket(container.bundleDir, `${name}.sock`);
        return await runOnConsole(command(["--console-socket", socket.path]), socket, launched, signal);
      });
    } catch (error) {
      if (signal.aborted || codeOf(error) !== Code.FailedPrecondition) throw error;
      // runc hands a terminal out only to those who do not wait for the command. Whether it was that, the other way tells.
      const exec = await this.#execOnTerminal(container, process, signal);
      void exec.ended.then(() => (this.#handsOutTerminals = false), () => {});
      return exec;
    }
  }

  #execOnTerminal(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal): Promise<RunningExec> {
    const { consoleSize } = process;
    const size = consoleSize === undefined ? undefined : { rows: consoleSize.height, columns: consoleSize.width };
    return this.#launch(container, process, signal, (invocation, launched, signal) => runOnTerminal(invocation.command(), size, launched, signal));
  }

  /** Resolves when `start` has launched the runtime with its streams. */
  async #launch(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal, start: (invocation: ExecInvocation, launched: (program: Launched) => void, signal: AbortSignal) => Promise<number | null>): Promise<RunningExec> {
    const { promise, resolve, reject } = Promise.withResolvers<Launched>();
    const ended = this.#exec(container, process, signal, async ({ name, command }, signal) => {
      // The runtime's own words, apart from the command's.
      const log = join(container.bundleDir, `${name}.log`);
      const logged = (options: readonly string[] = []) => command(options, ["--log", log]);
      const code = await start({ name, command: logged }, resolve, signal);
      return { code, stdout: Buffer.alloc(0), stderr: code === 0 || !existsSync(log) ? Buffer.alloc(0) : readFileSync(log) };
    }).then(exitCodeOf);
    // Neither counts once it is launched.
    ended.then(() => reject(new StatusError(Code.ResourceExhausted, `exec in container ${container.id}: its terminal cannot be taken over`)), reject);
    const { streams, resize } = await promise;
    return { streams, resize, ended };
  }

  /** Runs the runtime's exec in one way or another, and sees that nothing of it is left, whatever happens. */
  async #exec<R extends Finished>(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal, start: (invocation: ExecInvocation, signal: AbortSignal) => Promise<R>): Promise<R> {
    const name = `exec-${(this.#execs += 1)}`;
    const base = join(container.bundleDir, name);
    using files = new DisposableStack();
    files.defer(() => {
      for (const kind of ["json", "pid", "log"]) rmSync(`${base}.${kind}`, { force: true });
    });
    writeJson(`${base}.json`, process);
    using gentle = new GentleAbort(signal, () => existsSync(`${base}.pid`));
    using end = new RuntimeEnd();
    const onAbort = () => {
      const hasStarted = existsSync(`${base}.pid`);
      killExec(`${base}.pid`, () => this.#processesIn(container));
      end.in(hasStarted ? reapGraceMs : 0, signal.reason);
    };
    gentle.signal.addEventListener("abort", onAbort, { once: true });
    const command: ExecInvocation["command"] = (options = [], runtimeOptions = []) => ({
      file: this.#o.path,
      args: [...this.#runtimeArgs(), ...runtimeOptions, "exec", ...options, "--process", `${base}.json`, "--pid-file", `${base}.pid`, container.id],
      env: { PATH: globalThis.process.env["PATH"] },
      // crun leaves it as its own, which is keelsond's and may be next to never killed.
      oomScoreAdj: process.oomScoreAdj,
    });
    const result = await start({ name, command }, end.signal);
    signal.throwIfAborted();
    // No pid file: the command was never started, and what is on stderr is the runtime's. Mostly the command is wrong.
    if (result.code !== 0 && !existsSync(`${base}.pid`)) {
      throw this.#failure(`exec ${process.args?.[0] ?? ""} in container ${container.id}`, result, Code.FailedPrecondition);
    }
    return result;
  }

  async attach(container: RuntimeContainer): Promise<number> {
    try {
      return connectSeqpacket(container.bundleDir, "attach");
    } catch (error) {
      if (!isErrno(error, "ENOENT", "ECONNREFUSED")) throw error;
      throw new StatusError(Code.FailedPrecondition, `attach to container ${container.id}: its monitor is not there`, error);
    }
  }

  async resizeTerminal(container: RuntimeContainer, { rows, columns }: TerminalSize): Promise<void> {
    await using control = await openControl(join(container.bundleDir, "ctl"));
    await control.write(`1 ${rows} ${columns}\n`);
  }

  endExecs(container: RuntimeContainer): void {
    endExecsIn(container.bundleDir, container.id);
  }

  async reopenLog(container: RuntimeContainer, monitor: ProcessIdentity, signal: AbortSignal): Promise<void> {
    // conmon replaces a file that is still in place, and what it holds would be lost.
    if (isLoggingTo(monitor, container.logPath)) return;
    await using control = await openControl(join(container.bundleDir, "ctl"));
    await control.write(reopenLogsMessage);
    // A monitor that works is there at the second look; one that is stopped must not keep the daemon busy.
    for (let pauseMs = 1; !isLoggingTo(monitor, container.logPath); pauseMs = Math.min(2 * pauseMs, maxReopenPauseMs)) {
      if (!isProcessAlive(monitor.pid, monitor.startTicks)) {
        throw new StatusError(Code.FailedPrecondition, `reopen the log of container ${container.id}: its monitor has ended`);
      }
      await delay(pauseMs, undefined, { signal });
    }
  }

  async delete({ id }: Pick<RuntimeContainer, "id">, signal: AbortSignal): Promise<void> {
    if (existsSync(join(this.#o.root, id))) {
      const result = await this.#command(["delete", "--force", id], signal);
      if (result.code !== 0 && existsSync(join(this.#o.root, id))) throw this.#failure(`delete container ${id}`, result);
    }
    rmSync(this.#exitFile(id), { force: true });
  }

  /** conmon ends right after it has written the exit code: no end can be missed, and none is needed from a directory. */
  watch(_container: RuntimeContainer, { monitor }: RunningProcesses, onEnd: () => void): Disposable {
    return watchProcess(monitor.pid, monitor.startTicks, onEnd);
  }

  hasEnded(_container: RuntimeContainer, { monitor }: RunningProcesses): Promise<boolean> {
    return Promise.resolve(!isProcessAlive(monitor.pid, monitor.startTicks));
  }

  async exitOf(container: RuntimeContainer): Promise<ExitReport | undefined> {
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

  async view({ id }: RuntimeContainer, signal: AbortSignal): Promise<RuntimeView> {
    if (!existsSync(join(this.#o.root, id))) return undefined;
    const result = await this.#command(["state", id], signal);
    if (result.code !== 0) return undefined;
    const { status } = JSON.parse(result.stdout.toString()) as { status?: unknown };
    return status === "created" || status === "running" ? status : "stopped";
  }

  #processesIn({ cgroupPath }: RuntimeContainer): ProcessStat[] {
    // Of v1's hierarchies one is enough, and every runtime uses this one.
    const { cgroups } = this.#o;
    const freezers = cgroups.hierarchies.filter(({ controllers }) => controllers.includes("freezer"));
    return cgroupProcs(freezers.length === 0 ? cgroups : { ...cgroups, hierarchies: freezers }, cgroupPath).flatMap((pid) => readStat(pid) ?? []);
  }

  #startMonitor(container: RuntimeContainer, pipe: MonitorPipe): Child {
    const { id, bundleDir } = container;
    const args = ["--api-version", "1", "--sync", "--cid", id, "--name", id, "--cuuid", id];
    args.push("--runtime", this.#o.path, "--bundle", bundleDir, "--container-pidfile", join(bundleDir, "pidfile"));
    args.push("--log-path", container.logPath === "" ? "none" : `k8s-file:${container.logPath}`, "--no-sync-log");
    args.push("--exit-dir", this.#o.exitsDir, "--full-attach", "--log-level", "error");
    for (const arg of this.#runtimeArgs()) args.push("--runtime-arg", arg);
    if (container.tty) args.push("--terminal");
    if (container.stdin) args.push("--stdin");
    if (container.stdin && !container.stdinOnce) args.push("--leave-stdin-open");
    if (this.#o.systemdCgroup) args.push("--systemd-cgroup");
    // The working directory is where conmon leaves its `oom` file.
    const options = { args, cwd: bundleDir, env: { PATH: process.env["PATH"], _OCI_SYNCPIPE: "3" }, newSession: true };
    try {
      const child = spawn({ file: this.#o.conmon, ...options, fds: ["null", "null", "null", pipe.writeFd] });
      pipe.handedOver();
      return child;
    } catch (error) {
      if (isExecutable(this.#o.conmon)) throw error;
      throw new StatusError(Code.FailedPrecondition, `the monitor ${this.#o.conmon} is not there any more; install the package conmon again`, error);
    }
  }

  #runtimeArgs(): string[] {
    return [`--root=${this.#o.root}`, ...this.#o.args];
  }

  async #command(args: string[], signal: AbortSignal): Promise<RunResult> {
    const systemd = this.#o.systemdCgroup ? ["--systemd-cgroup"] : [];
    using gentle = new GentleAbort(signal, () => false);
    try {
      return await run({ file: this.#o.path, args: [...this.#runtimeArgs(), ...systemd, ...args], env: { PATH: process.env["PATH"] } }, gentle.signal);
    } catch (error) {
      throw signal.aborted ? error : this.#explained(error, []);
    }
  }

  #exitFile(id: string): string {
    return join(this.#o.exitsDir, id);
  }

  /** The error with what is behind it that a runtime or monitor does not tell, or only in words: a missing binary, a full file system of `dirs`. */
  #explained(error: unknown, dirs: readonly string[]): unknown {
    if (codeOf(error) !== Code.Internal) return error;
    const { name, path } = this.#o;
    if (!isExecutable(path)) {
      return new StatusError(Code.FailedPrecondition, `the OCI runtime ${path} of the handler ${name} is not there any more; install ${basename(path)} again, or set runtimes.${name}.path (${messageOf(error)})`, error);
    }
    const full = dirs.find(isFull);
    if (full === undefined) return error;
    return new StatusError(Code.ResourceExhausted, `${messageOf(error)}; no room or no inodes are left on the file system of ${full}: free some, or make it larger`, error);
  }

  #failure(doing: string, result: Finished, code: Code = Code.Internal): StatusError {
    const text = result.stderr.length > 0 ? result.stderr : result.stdout;
    return new StatusError(code, `${doing} with ${this.#o.name}: ${runtimeMessage(text.toString())} (exit code ${exitCodeOf(result)})`);
  }
}

/** crun's start waits for ever for a container that was killed before. */
function abortAtEnd(main: ProcessIdentity | undefined): Disposable & { signal: AbortSignal } {
  const abort = new AbortController();
  const onEnd = () => abort.abort(new StatusError(Code.FailedPrecondition, "its first process has ended"));
  const watch = main === undefined ? undefined : watchProcess(main.pid, main.startTicks, onEnd);
  return { signal: abort.signal, [Symbol.dispose]: () => watch?.[Symbol.dispose]() };
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Whether nothing more fits on a directory's file system; one without a count of inodes says 0 of 0. */
function isFull(dir: string): boolean {
  const { bavail, files, ffree } = statfsSync(dir);
  return bavail === 0 || (files > 0 && ffree === 0);
}

function writeJson(path: string, value: object): void {
  namingFile(path, () => writeFileSync(path, JSON.stringify(value), { mode: 0o600 }));
}

function exitCodeOf(result: Finished): number {
  // The shell's convention for a process that a signal ended.
  return result.code ?? 137;
}

/**
 * crun gives its streams to the container's user. In a user namespace the container's /dev/null is the host's, and
 * who owns that can shut everybody out. Taken back before the container's first instruction.
 */
function keepNullDevice(): void {
  const { uid, gid } = statSync("/dev/null");
  if (uid !== 0 || gid !== 0) chownSync("/dev/null", 0, 0);
}

function identify(pid: number): ProcessIdentity {
  const startTicks = processStartTicks(pid);
  if (startTicks === null) throw new StatusError(Code.Internal, `process ${pid} ended at once`);
  return { pid, startTicks };
}

/** Whether the monitor has this very file open: /proc shows its name as it is now. */
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
    if (isErrno(error, "ENXIO", "ENOENT")) throw new StatusError(Code.FailedPrecondition, `${path}: the container's monitor is not there`, error);
    throw error;
  }
}
