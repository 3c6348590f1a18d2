import { chownSync, existsSync, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import { type CgroupLayout, cgroupProcs } from "@keelson/linux/cgroup.ts";
import { ConsoleSocket } from "@keelson/linux/console-socket.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { signalProcess, watchProcess } from "@keelson/linux/process.ts";
import { type ProcessStat, readStat } from "@keelson/linux/procfs.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import type { Conmon } from "./conmon.ts";
import { createOrUndo } from "./create-or-undo.ts";
import type { ExecOutput } from "./exec-output.ts";
import { endExecsIn, killExec } from "./exec-processes.ts";
import { runOnConsole } from "./exec-streams.ts";
import { isRunc } from "./handler-section.ts";
import { RuntimeCommand, type RuntimeCommandOptions } from "./runtime-command.ts";
import { RuntimeExec } from "./runtime-exec.ts";
import { specFile } from "./runtime-paths.ts";
import type { ExitReport, RunningExec, RunningProcesses, Runtime, RuntimeContainer, RuntimeView } from "./runtime.ts";
import { giveMonitorPipes, streamOwner } from "./stream-owner.ts";
import { writeJson } from "./write-json.ts";

export interface OciRuntimeOptions extends RuntimeCommandOptions {
  readonly conmon: Conmon;
  readonly cgroups: CgroupLayout;
}

/** An OCI runtime (crun, runc) with one conmon for each container. */
export class OciRuntime implements Runtime {
  readonly #conmon: Conmon;
  readonly #cgroups: CgroupLayout;
  readonly #systemdCgroup: boolean;
  readonly #command: RuntimeCommand;
  readonly #exec: RuntimeExec;
  /**
   * Whether `exec` hands over a terminal while it waits for the command, as crun does; runc does so only when it does
   * not wait.
   */
  #handsOutTerminals = true;

  constructor(options: OciRuntimeOptions) {
    this.#conmon = options.conmon;
    this.#cgroups = options.cgroups;
    this.#systemdCgroup = options.systemdCgroup;
    this.#command = new RuntimeCommand(options);
    this.#exec = new RuntimeExec({
      command: this.#command,
      detaches: isRunc(options.path),
      kill: (base, container) => killExec(`${base}.pid`, () => this.#processesIn(container)),
    });
    mkdirSync(options.root, { recursive: true, mode: 0o700 });
    // An earlier daemon may have been killed between crun's change and ours.
    keepNullDevice();
  }

  async create(container: RuntimeContainer, spec: Spec, signal: AbortSignal): Promise<RunningProcesses> {
    writeJson(specFile(container.bundleDir), spec);
    const { path, globalArgs } = this.#command;
    const runtime = { path, args: globalArgs, systemdCgroup: this.#systemdCgroup };
    return await createOrUndo(this.#command, container, {
      create: async () => {
        const processes = await this.#conmon.create(container, runtime, signal);
        keepNullDevice();
        if (spec.process !== undefined) giveMonitorPipes(processes, streamOwner(spec, spec.process));
        return processes;
      },
      undo: (signal) => this.delete(container, signal),
    });
  }

  async start({ id }: RuntimeContainer, { main }: RunningProcesses, signal: AbortSignal): Promise<void> {
    using ending = abortAtEnd(main);
    const result = await this.#command.run(["start", id], AbortSignal.any([signal, ending.signal]));
    if (result.code !== 0)
      throw this.#command.explained(this.#command.failure(`start container ${id}`, result), [this.#command.root]);
  }

  signal(_container: RuntimeContainer, { main }: RunningProcesses, number: number): Promise<void> {
    if (main !== undefined) signalProcess(main.pid, main.startTicks, number);
    return Promise.resolve();
  }

  async update(container: RuntimeContainer, resources: ResourcesSpec, signal: AbortSignal): Promise<void> {
    if (Object.keys(resources).length === 0) return;
    const file = join(container.bundleDir, "resources.json");
    writeJson(file, resources);
    const result = await this.#command.run(["update", "--resources", file, container.id], signal);
    signal.throwIfAborted();
    if (result.code !== 0) throw this.#command.failure("set its limits", result, Code.FailedPrecondition);
  }

  exec(container: RuntimeContainer, process: ProcessSpec, output: ExecOutput, signal: AbortSignal): Promise<number> {
    return this.#exec.run(container, process, output, signal);
  }

  async execStreams(
    container: RuntimeContainer,
    process: ProcessSpec,
    _hasInput: boolean,
    signal: AbortSignal,
  ): Promise<RunningExec> {
    if (process.terminal !== true) return await this.#exec.launchOnPipes(container, process, signal);
    if (!this.#handsOutTerminals) return await this.#exec.launchOnTerminal(container, process, "copied", signal);
    try {
      return await this.#exec.launch(container, process, signal, async ({ name, command }, launched, signal) => {
        using socket = new ConsoleSocket(container.bundleDir, `${name}.sock`);
        return await runOnConsole(command(["--console-socket", socket.path]), socket, launched, signal);
      });
    } catch (error) {
      if (signal.aborted || codeOf(error) !== Code.FailedPrecondition) throw error;
      // Some runtimes hand over a terminal only when they do not wait for the command. If that was the reason, the
      // other way works.
      const exec = await this.#exec.launchOnTerminal(container, process, "copied", signal);
      void exec.ended.then(
        () => (this.#handsOutTerminals = false),
        () => {},
      );
      return exec;
    }
  }

  attach(container: RuntimeContainer): Promise<number> {
    return Promise.try(() => this.#conmon.attach(container));
  }

  resizeTerminal(container: RuntimeContainer, size: TerminalSize): Promise<void> {
    return this.#conmon.resizeTerminal(container, size);
  }

  findProcesses(container: Pick<RuntimeContainer, "id" | "bundleDir">): RunningProcesses | undefined {
    return existsSync(join(this.#command.root, container.id)) ? this.#conmon.findProcesses(container) : undefined;
  }

  endExecs(container: RuntimeContainer): void {
    endExecsIn(container.bundleDir, container.id);
  }

  reopenLog(container: RuntimeContainer, monitor: ProcessIdentity, signal: AbortSignal): Promise<void> {
    return this.#conmon.reopenLog(container, monitor, signal);
  }

  async delete(container: Pick<RuntimeContainer, "id" | "bundleDir">, signal: AbortSignal): Promise<void> {
    const { id } = container;
    const state = join(this.#command.root, id);
    if (existsSync(state)) {
      const result = await this.#command.run(["delete", "--force", id], signal);
      if (result.code !== 0 && existsSync(state)) throw this.#command.failure(`delete container ${id}`, result);
    }
    await this.#conmon.forget(container);
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

  async view({ id }: RuntimeContainer, signal: AbortSignal): Promise<RuntimeView> {
    if (!existsSync(join(this.#command.root, id))) return undefined;
    const result = await this.#command.run(["state", id], signal);
    return result.code === 0 ? viewInState(result.stdout.toString()) : undefined;
  }

  #processesIn({ cgroupPath }: RuntimeContainer): ProcessStat[] {
    // Of the v1 hierarchies one is enough, and every runtime uses the freezer's.
    const freezers = this.#cgroups.hierarchies.filter(({ controllers }) => controllers.includes("freezer"));
    return cgroupProcs(
      freezers.length === 0 ? this.#cgroups : { ...this.#cgroups, hierarchies: freezers },
      cgroupPath,
    ).flatMap((pid) => readStat(pid) ?? []);
  }
}

/** Where a container is according to an answer of `RUNTIME state`. */
export function viewInState(answer: string): RuntimeView {
  const { status } = JSON.parse(answer) as { status?: unknown };
  return status === "created" || status === "running" ? status : "stopped";
}

/** crun's `start` waits for ever for a container that was killed before. */
function abortAtEnd(main: ProcessIdentity | undefined): Disposable & { signal: AbortSignal } {
  const abort = new AbortController();
  const onEnd = () => abort.abort(new StatusError(Code.FailedPrecondition, "its first process has ended"));
  const watch = main === undefined ? undefined : watchProcess(main.pid, main.startTicks, onEnd);
  return { signal: abort.signal, [Symbol.dispose]: () => watch?.[Symbol.dispose]() };
}

/**
 * crun changes the owner of its streams to the container's user. In a user namespace the container's /dev/null is the
 * host's, and whoever owns that can shut everybody else out. So it is taken back before the container's first
 * instruction.
 */
function keepNullDevice(): void {
  const { uid, gid } = statSync("/dev/null");
  if (uid !== 0 || gid !== 0) chownSync("/dev/null", 0, 0);
}
