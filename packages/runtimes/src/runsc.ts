import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Log } from "@keelson/base/log.ts";
import { Code, StatusError } from "@keelson/base/status.ts";
import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { gvisorStandInProgram, standInEnded } from "@keelson/linux/gvisor-stand-in.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { signalProcess } from "@keelson/linux/process.ts";
import { type ProcessStat, readCommandLine, readStat } from "@keelson/linux/procfs.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import { run, type RunResult } from "@keelson/linux/run.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { type Conmon, pidFile } from "./conmon.ts";
import { createOrUndo } from "./create-or-undo.ts";
import type { ExecOutput } from "./exec-output.ts";
import { runtimeMessage } from "./monitor-pipe.ts";
import { viewInState } from "./oci.ts";
import { readPid } from "./pid-file.ts";
import { endRunscExecs, killRunscExec } from "./runsc-exec-processes.ts";
import { connectInSandbox } from "./runsc-port.ts";
import { usageInEvent } from "./runsc-usage.ts";
import { RuntimeCommand, type RuntimeCommandOptions } from "./runtime-command.ts";
import { RuntimeExec } from "./runtime-exec.ts";
import { specFile } from "./runtime-paths.ts";
import type { ExitReport, RunningExec, RunningProcesses, Runtime, RuntimeContainer, RuntimeView } from "./runtime.ts";
import { writeJson } from "./write-json.ts";

export interface RunscRuntimeOptions extends RuntimeCommandOptions {
  readonly conmon: Conmon;
  readonly log: Log;
}

const sigkill = 9;

/** How long a sandbox may take to answer, in ms. One that is stopped or hangs never answers. */
const answerTimeoutMs = 10_000;

type Known = Pick<RuntimeContainer, "id" | "bundleDir">;

/**
 * gVisor: each pod is a sandbox, which is itself a container of runsc, and the pod's containers run in it. Each has a
 * conmon, whose child is the sandbox's process, or, as a container in a sandbox is no process of this machine, a
 * stand-in for it (native/gvisor-stand-in.c).
 */
export class RunscRuntime implements Runtime {
  readonly #conmon: Conmon;
  readonly #log: Log;
  readonly #systemdCgroup: boolean;
  readonly #command: RuntimeCommand;
  readonly #exec: RuntimeExec;
  #connections = 0;

  constructor(options: RunscRuntimeOptions) {
    this.#conmon = options.conmon;
    this.#log = options.log;
    this.#systemdCgroup = options.systemdCgroup;
    this.#command = new RuntimeCommand(options);
    this.#exec = new RuntimeExec({
      detaches: false,
      command: this.#command,
      options: (base) => ["--internal-pid-file", `${base}.inner`],
      kill: (base, container) =>
        this.#inBackground(container, killRunscExec(this.#command, container.id, `${base}.inner`)),
    });
    mkdirSync(options.root, { recursive: true, mode: 0o700 });
  }

  async create(container: RuntimeContainer, spec: Spec, signal: AbortSignal): Promise<RunningProcesses> {
    writeJson(specFile(container.bundleDir), specFor(container, spec));
    return await createOrUndo(this.#command, container, {
      create: () =>
        isSandbox(container) ? this.#createSandbox(container, spec, signal) : this.#createInSandbox(container, signal),
      undo: (signal) => this.delete(container, signal),
    });
  }

  #createSandbox(container: RuntimeContainer, spec: Spec, signal: AbortSignal): Promise<RunningProcesses> {
    const { path, globalArgs } = this.#command;
    const args = [...globalArgs, ...networkArgs(spec)];
    return this.#conmon.create(container, { path, args, systemdCgroup: this.#systemdCgroup }, signal);
  }

  async #createInSandbox(container: RuntimeContainer, signal: AbortSignal): Promise<RunningProcesses> {
    const { path, globalArgs, root } = this.#command;
    const args = this.#systemdCgroup ? [...globalArgs, "--systemd-cgroup"] : globalArgs;
    const env = { KEELSON_RUNSC: path, KEELSON_SANDBOX_SOCKET: join(root, `runsc-${container.sandboxId}.sock`) };
    const standIn = { path: gvisorStandInProgram(), args, env, systemdCgroup: false };
    const { monitor } = await this.#conmon.create(container, standIn, signal);
    return { monitor };
  }

  async start(container: RuntimeContainer, { main }: RunningProcesses, signal: AbortSignal): Promise<void> {
    const { id, bundleDir } = container;
    const { path, globalArgs, root } = this.#command;
    const args = isSandbox(container)
      ? ["start-sandbox", String(main?.pid), path, ...globalArgs, ...networkArgs(readSpec(bundleDir)), "start", id]
      : ["start", bundleDir];
    const result = await run({ file: gvisorStandInProgram(), args, env: { PATH: process.env["PATH"] } }, signal);
    if (result.code === 0) return;
    // The stand-in no longer waits for a start: an earlier daemon did it and was killed before it could record that, or
    // the container was ended.
    if (result.code === standInEnded && !isSandbox(container) && standInOf(bundleDir) !== undefined) return;
    if (result.code === standInEnded && !isSandbox(container))
      throw new StatusError(Code.FailedPrecondition, `start container ${id}: it was stopped or killed in the meantime`);
    const answer = result.stderr.length > 0 ? result : { ...result, stderr: readIfThere(join(bundleDir, "start.log")) };
    throw this.#command.explained(this.#command.failure(`start container ${id}`, answer), [root]);
  }

  /**
   * A signal that gVisor's command line cannot send, or that a hanging sandbox does not take, counts as ignored by the
   * container.
   */
  async signal(
    container: RuntimeContainer,
    _processes: RunningProcesses,
    number: number,
    signal: AbortSignal,
  ): Promise<void> {
    if (number === sigkill) return await this.kill(container, signal);
    const result = await this.#ask(["kill", container.id, String(number)], signal);
    if (result?.code === 0 || (result !== undefined && (await this.view(container, signal)) !== "running")) return;
    const why =
      result === undefined
        ? `its sandbox did not answer within ${answerTimeoutMs / 1000} s`
        : runtimeMessage(result.stderr.toString());
    this.#log.warn(
      { containerId: container.id, signal: number },
      `signal ${number} was not sent to container ${container.id}: ${why}`,
    );
  }

  async kill(container: RuntimeContainer, signal: AbortSignal): Promise<void> {
    // Everything in a sandbox is in its cgroup.
    if (isSandbox(container)) return;
    const { id, bundleDir } = container;
    if (existsSync(join(bundleDir, "start"))) killStandIn(bundleDir);
    else if (this.#hasState(id) && !isOver(container)) {
      const result = await this.#ask(["kill", "--all", id, "KILL"], signal);
      if (result === undefined) this.#killSandboxOf(container);
      else if (result.code !== 0 && (await this.view(container, signal)) === "running")
        throw this.#command.failure(`kill container ${id}`, result);
    }
  }

  /** Only a sandbox as a whole has limits: those of the pod's cgroup. */
  async update(): Promise<void> {
    throw new StatusError(
      Code.FailedPrecondition,
      "set its limits: gVisor has no limits for a single container; the limits of the pod's cgroup apply to the whole pod",
    );
  }

  exec(container: RuntimeContainer, process: ProcessSpec, output: ExecOutput, signal: AbortSignal): Promise<number> {
    return this.#exec.run(container, process, output, signal);
  }

  /**
   * runsc hands over a terminal only when it does not wait for the command. So it gets a terminal of ours as its
   * streams, and passes that on to the command.
   */
  execStreams(
    container: RuntimeContainer,
    process: ProcessSpec,
    _hasInput: boolean,
    signal: AbortSignal,
  ): Promise<RunningExec> {
    return process.terminal === true
      ? this.#exec.launchOnTerminal(container, process, "handed on", signal)
      : this.#exec.launchOnPipes(container, process, signal);
  }

  attach(container: RuntimeContainer): Promise<number> {
    return Promise.try(() => this.#conmon.attach(container));
  }

  resizeTerminal(container: RuntimeContainer, size: TerminalSize): Promise<void> {
    return this.#conmon.resizeTerminal(container, size);
  }

  async usage({ id }: RuntimeContainer, signal: AbortSignal): Promise<CgroupUsage | undefined> {
    if (!this.#hasState(id)) return undefined;
    const result = await this.#command.run(["events", "--stats", id], signal);
    return result.code === 0 ? usageInEvent(result.stdout.toString()) : undefined;
  }

  pidNamespaceOf({ bundleDir }: RuntimeContainer): string | undefined {
    return pidNamespaceIn(readSpec(bundleDir));
  }

  connectPort({ id, bundleDir }: RuntimeContainer, port: number, signal: AbortSignal): Promise<number> {
    const file = join(bundleDir, `connect-${(this.#connections += 1)}.json`);
    return connectInSandbox(this.#command, { id, port, file }, signal);
  }

  findProcesses(container: Pick<RuntimeContainer, "id" | "bundleDir">): RunningProcesses | undefined {
    return this.#hasState(container.id) ? this.#conmon.findProcesses(container) : undefined;
  }

  endExecs(container: RuntimeContainer): void {
    this.#inBackground(container, endRunscExecs(this.#command, container));
  }

  reopenLog(container: RuntimeContainer, monitor: ProcessIdentity, signal: AbortSignal): Promise<void> {
    return this.#conmon.reopenLog(container, monitor, signal);
  }

  async delete(container: Known, signal: AbortSignal): Promise<void> {
    const { id, bundleDir } = container;
    killStandIn(bundleDir);
    if (this.#hasState(id)) {
      let result = await this.#ask(["delete", "--force", id], signal);
      if (result === undefined) {
        this.#killSandboxOf(container);
        result = await this.#command.run(["delete", "--force", id], signal);
      }
      if (result.code !== 0 && this.#hasState(id)) throw this.#command.failure(`delete container ${id}`, result);
    }
    await this.#conmon.forget(container);
    this.#removeLocks(id);
  }

  /** One that asked for the container's numbers meanwhile has made its lock anew. */
  #removeLocks(id: string): void {
    const { root } = this.#command;
    const files = readdirSync(root).filter((name) => name.startsWith(`${id}_`));
    if (files.every((name) => name.endsWith(".lock")))
      for (const name of files) rmSync(join(root, name), { force: true });
  }

  watch(container: RuntimeContainer, processes: RunningProcesses, onEnd: () => void): Disposable {
    return this.#conmon.watch(container, processes, onEnd);
  }

  hasEnded(_container: RuntimeContainer, processes: RunningProcesses): Promise<boolean> {
    return Promise.resolve(this.#conmon.hasEnded(processes));
  }

  exitOf(container: RuntimeContainer): Promise<ExitReport | undefined> {
    return Promise.try(() => this.#conmon.exitOf(container));
  }

  async view(container: RuntimeContainer, signal: AbortSignal): Promise<RuntimeView> {
    if (!this.#hasState(container.id)) return undefined;
    const result = await this.#command.run(["state", container.id], signal);
    return result.code === 0 ? viewInState(result.stdout.toString()) : undefined;
  }

  /** Undefined when the sandbox does not answer. */
  async #ask(args: readonly string[], signal: AbortSignal): Promise<RunResult | undefined> {
    const timeout = AbortSignal.timeout(answerTimeoutMs);
    try {
      return await this.#command.run(args, AbortSignal.any([signal, timeout]));
    } catch (error) {
      if (signal.aborted || !timeout.aborted) throw error;
      return undefined;
    }
  }

  /** A container in a sandbox that hangs can be ended only together with all others in it. */
  #killSandboxOf({ id, bundleDir }: Known): void {
    const pid = readPid(join(bundleDir, "sandbox-pid"));
    const stat = pid === undefined ? null : readStat(pid);
    const args = pid === undefined ? [] : readCommandLine(pid);
    if (
      pid === undefined ||
      stat === null ||
      args[0] !== "runsc-sandbox" ||
      !args.includes(`--root=${this.#command.root}`)
    )
      return;
    this.#log.warn(
      { containerId: id, pid },
      `the sandbox of container ${id} did not answer within ${answerTimeoutMs / 1000} s; killing it, and with it the whole pod`,
    );
    signalProcess(pid, stat.startTicks, sigkill);
  }

  /** gVisor keeps the state of a container in files that are named after it and its sandbox. */
  #hasState(id: string): boolean {
    return readdirSync(this.#command.root).some((name) => name.startsWith(`${id}_`));
  }

  #inBackground(container: RuntimeContainer, work: Promise<void>): void {
    work.catch((error: unknown) =>
      this.#log.warn({ containerId: container.id, err: error }, `cannot end a command in container ${container.id}`),
    );
  }
}

function isSandbox({ id, sandboxId }: RuntimeContainer): boolean {
  return id === sandboxId;
}

/**
 * gVisor knows a PID namespace that is to be shared by the text of its path, which need not exist as a file. So each
 * container's own namespace gets a name, by which another container may join it.
 */
function specFor(container: RuntimeContainer, spec: Spec): Spec {
  if (isSandbox(container)) return spec;
  const namespaces = (spec.linux?.namespaces ?? []).map((n) =>
    n.type === "pid" && n.path === undefined ? { ...n, path: ownPidNamespace(container.id) } : n,
  );
  return { ...spec, linux: { ...spec.linux, namespaces } };
}

function ownPidNamespace(id: string): string {
  return `/keelson/${id}`;
}

function pidNamespaceIn(spec: Spec): string | undefined {
  return spec.linux?.namespaces?.find(({ type }) => type === "pid")?.path;
}

/**
 * Whether the container's first process has ended, and with it, as the PID namespace is the container's own, all
 * others.
 */
function isOver({ id, bundleDir }: RuntimeContainer): boolean {
  return standInOf(bundleDir) === undefined && pidNamespaceIn(readSpec(bundleDir)) === ownPidNamespace(id);
}

/** A pod on the host's network uses the host's sockets, not gVisor's own network stack. */
function networkArgs(spec: Spec): string[] {
  const network = spec.linux?.namespaces?.find(({ type }) => type === "network");
  return network === undefined ? ["--network=host"] : [];
}

function readSpec(bundleDir: string): Spec {
  return JSON.parse(readFileSync(specFile(bundleDir), "utf8")) as Spec;
}

function killStandIn(bundleDir: string): void {
  const standIn = standInOf(bundleDir);
  if (standIn !== undefined) signalProcess(standIn.pid, standIn.startTicks, sigkill);
}

/**
 * The process that stands for a container, if it runs. Its pid comes from a file: another process may have that number
 * now.
 */
function standInOf(bundleDir: string): ProcessStat | undefined {
  const pid = readPid(pidFile(bundleDir));
  const stat = pid === undefined ? null : readStat(pid);
  return stat?.name === "gvisor-stand-in" && stat.state !== "Z" ? stat : undefined;
}

function readIfThere(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    if (isErrno(error, "ENOENT", "ESRCH")) return Buffer.alloc(0);
    throw error;
  }
}
