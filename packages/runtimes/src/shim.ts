import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { namingFile } from "@keelson/base/exhaustion.ts";
import { KeyedLock } from "@keelson/base/keyed-lock.ts";
import type { Log } from "@keelson/base/log.ts";
import { Code, codeOf, messageOf, StatusError, wrapError } from "@keelson/base/status.ts";
import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { isProcessAlive, processStartTicks } from "@keelson/linux/procfs.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { metricsOf, specAny } from "@keelson/shim/any.ts";
import type { Any } from "@keelson/shim/gen/google/protobuf/known.ts";
import type { ExecOutput } from "./exec-output.ts";
import { specFile } from "./runtime-paths.ts";
import type {
  ExitReport,
  LostContainer,
  RunningExec,
  RunningProcesses,
  Runtime,
  RuntimeContainer,
  RuntimeView,
} from "./runtime.ts";
import { type Bundle, forgetEnds, isMarked, markBundle, readExit, readShim, writeShim } from "./shim/bundle-files.ts";
import { ContainerEnds } from "./shim/container-ends.ts";
import { ContainerStreams } from "./shim/container-streams.ts";
import {
  answerTimeoutMs,
  cleanUpTimeoutMs,
  deathMs,
  killTimeoutMs,
  slowTimeoutMs,
  unstartedDeathMs,
} from "./shim/deadlines.ts";
import { listenForEvents } from "./shim/event-socket.ts";
import { endShimExecs, execInShim, execStreamsInShim, type ExecShim } from "./shim/shim-exec.ts";
import { ownedBy } from "./shim/shim-options.ts";
import type { ShimProcess } from "./shim/shim-process.ts";
import { ShimProcesses } from "./shim/shim-processes.ts";
import { usageOf } from "./shim/shim-usage.ts";
import { killWithoutShim, tearDown, type TeardownDeps } from "./shim/teardown.ts";
import { streamOwner } from "./stream-owner.ts";

export interface ShimRuntimeOptions {
  /** The handler's name. */
  readonly name: string;
  /** Absolute path of the shim's binary. */
  readonly path: string;
  /** A directory of ours for this handler. */
  readonly stateDir: string;
  /** The CRI's socket, from which shims derive the names of their own. */
  readonly address: string;
  /** What a shim is given at its start, and with each container. */
  readonly options: Any | undefined;
  /** Whether the containers' processes are this machine's. */
  readonly hasHostProcesses: boolean;
  readonly log: Log;
}

/** How long a shim whose connection is closed may take to be gone, in ms. */
const dyingMs = 2000;

const sigkill = 9;

/**
 * Any containerd shim v2. The shim outlives the daemon and runs the containers; a thread of ours copies between the
 * FIFOs that it has open and the containers' logs. How a container ended is recorded in its bundle.
 *
 * This file is a container's life, from `create` to `delete`. Beside it in shim/: which shim serves a container
 * (shim-processes.ts), its streams (container-streams.ts), its end (container-ends.ts) and its removal (teardown.ts).
 */
export class ShimRuntime implements Runtime {
  readonly #o: ShimRuntimeOptions;
  readonly #shims: ShimProcesses;
  readonly #streams: ContainerStreams;
  readonly #ends: ContainerEnds;
  readonly #teardown: TeardownDeps;
  /** A pod's shim comes and goes with its containers. */
  readonly #podLocks = new KeyedLock();
  /** By pod, see `ExecShim.turn`. */
  readonly #execTurns = new KeyedLock();

  /** For containers that run in a guest; of all others the host's cgroups know what they use. */
  readonly usage?: NonNullable<Runtime["usage"]>;

  constructor(options: ShimRuntimeOptions) {
    const { name: handler, path: file, stateDir, address, hasHostProcesses, log } = options;
    this.#o = options;
    if (!hasHostProcesses) this.usage = (container, signal) => this.#usage(container, signal);
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    const eventsPath = join(stateDir, "events");
    this.#shims = new ShimProcesses({ file, address, eventsPath, options: options.options });
    this.#streams = new ContainerStreams({ handler, log, closeInput: (bundle) => this.#closeInput(bundle) });
    this.#ends = new ContainerEnds({ shims: this.#shims, streams: this.#streams, log });
    this.#teardown = { handler, hasHostProcesses, shims: this.#shims, streams: this.#streams, log };
    listenForEvents({ path: eventsPath, handler, log, bundleDirOf: (id) => this.#streams.bundleDirOf(id) });
  }

  async create(container: RuntimeContainer, spec: Spec, signal: AbortSignal): Promise<RunningProcesses> {
    const { id, sandboxId, bundleDir } = container;
    const withTimeout = AbortSignal.any([signal, AbortSignal.timeout(slowTimeoutMs)]);
    namingFile(specFile(bundleDir), () => writeFileSync(specFile(bundleDir), JSON.stringify(spec), { mode: 0o600 }));
    using _ = await this.#podLocks.acquire(sandboxId, signal);
    try {
      forgetEnds(bundleDir);
      markBundle(bundleDir, this.#o.name);
      const streams = await this.#streams.create(container);
      const shim = await this.#shims.start(container, withTimeout);
      writeShim(bundleDir, shim);
      const task = await shim.task(withTimeout);
      const options =
        spec.process === undefined ? this.#o.options : ownedBy(streamOwner(spec, spec.process), this.#o.options);
      const { pid } = await task.call(
        "Create",
        { id, bundle: bundleDir, terminal: container.tty, ...streams, options },
        { timeoutMs: slowTimeoutMs, signal: withTimeout },
      );
      shim.follow(id);
      return { main: this.#o.hasHostProcesses ? identify(pid) : undefined, monitor: shim.identity };
    } catch (error) {
      // Nothing of a half-created container may outlive the call, whatever stopped it.
      const isUndone =
        !withTimeout.aborted && codeOf(error) !== Code.Unavailable && codeOf(error) !== Code.DeadlineExceeded;
      await tearDown(this.#teardown, container, { isUndone, signal: AbortSignal.timeout(cleanUpTimeoutMs) });
      throw wrapError(`create container ${id} with ${this.#o.name}`, known(error));
    }
  }

  async start(container: RuntimeContainer, _processes: RunningProcesses, signal: AbortSignal): Promise<void> {
    try {
      const task = await this.#shims.task(container, signal);
      await task.call("Start", { id: container.id }, { timeoutMs: slowTimeoutMs, signal });
    } catch (error) {
      throw wrapError(`start container ${container.id} with ${this.#o.name}`, known(error));
    }
  }

  async signal(
    container: RuntimeContainer,
    _processes: RunningProcesses,
    number: number,
    signal: AbortSignal,
  ): Promise<void> {
    // All at once: once the first process is dead, some shims no longer pass signals on to the others.
    await this.#kill(container, { signal: number, all: number === sigkill }, signal);
  }

  async kill(container: RuntimeContainer, signal: AbortSignal): Promise<void> {
    if (readExit(container.bundleDir) !== undefined || !isMarked(container.bundleDir, this.#o.name)) return;
    await this.#kill(container, { signal: sigkill, all: true }, signal);
    const shim = this.#shims.of(container);
    if (shim === undefined) return;
    if (shim.lost === undefined && !(await this.#dies(container, shim, signal)))
      shim.hangs(`container ${container.id} still runs ${deathMs / 1000} s after SIGKILL`);
    if (shim.lost === undefined) return;
    // What the container wrote and nobody has read is still in the FIFOs.
    await this.#streams.open(container);
    await killWithoutShim(this.#teardown, container, shim, signal);
  }

  async update(container: RuntimeContainer, resources: ResourcesSpec, signal: AbortSignal): Promise<void> {
    if (Object.keys(resources).length === 0) return;
    try {
      const task = await this.#shims.task(container, signal);
      await task.call(
        "Update",
        { id: container.id, resources: specAny("LinuxResources", resources) },
        { timeoutMs: answerTimeoutMs, signal },
      );
    } catch (error) {
      if (signal.aborted) throw error;
      const code =
        codeOf(error) === Code.Unavailable || codeOf(error) === Code.DeadlineExceeded
          ? codeOf(error)
          : Code.FailedPrecondition;
      throw new StatusError(code, `set its limits with ${this.#o.name}: ${messageOf(error)}`, error);
    }
  }

  async exec(
    container: RuntimeContainer,
    process: ProcessSpec,
    output: ExecOutput,
    signal: AbortSignal,
  ): Promise<number> {
    return await execInShim(this.#execShim(container), container, process, output, signal);
  }

  async execStreams(
    container: RuntimeContainer,
    process: ProcessSpec,
    hasInput: boolean,
    signal: AbortSignal,
  ): Promise<RunningExec> {
    return await execStreamsInShim(this.#execShim(container), container, { process, hasInput }, signal);
  }

  async attach(container: RuntimeContainer): Promise<number> {
    const { id } = container;
    const shim = this.#shims.of(container);
    if (shim === undefined || shim.lost !== undefined || !this.#streams.isOpen(id))
      throw new StatusError(
        Code.FailedPrecondition,
        `attach to container ${id}: ${shim?.lost ?? "its shim is not there"}`,
      );
    return await this.#streams.attach(id);
  }

  async resizeTerminal(container: RuntimeContainer, { rows, columns }: TerminalSize): Promise<void> {
    const signal = AbortSignal.timeout(answerTimeoutMs);
    const task = await this.#shims.task(container, signal);
    await task.call(
      "ResizePty",
      { id: container.id, height: rows, width: columns },
      { timeoutMs: answerTimeoutMs, signal },
    );
  }

  findProcesses({ bundleDir }: Bundle): RunningProcesses | undefined {
    const shim = isMarked(bundleDir, this.#o.name) ? readShim(bundleDir)?.identity : undefined;
    return shim !== undefined && isProcessAlive(shim.pid, shim.startTicks) ? { monitor: shim } : undefined;
  }

  endExecs(container: RuntimeContainer): void {
    const signal = AbortSignal.timeout(cleanUpTimeoutMs);
    this.#shims
      .task(container, signal)
      .then((task) => endShimExecs(task, container, signal))
      .catch((error: unknown) => {
        this.#o.log.debug(
          { containerId: container.id, err: error },
          "cannot end the commands that an earlier daemon was running",
        );
      });
  }

  async reopenLog(container: RuntimeContainer): Promise<void> {
    await this.#streams.reopenLog(container.id);
  }

  async delete(bundle: Bundle & { readonly sandboxId?: string }, signal: AbortSignal): Promise<void> {
    if (!isMarked(bundle.bundleDir, this.#o.name)) return;
    using _ = await this.#podLocks.acquire(bundle.sandboxId ?? bundle.id, signal);
    await tearDown(this.#teardown, bundle, { signal });
  }

  watch(container: RuntimeContainer, processes: RunningProcesses, onEnd: () => void): Disposable {
    return this.#ends.watch(container, processes, onEnd);
  }

  async hasEnded(container: RuntimeContainer, processes: RunningProcesses, signal: AbortSignal): Promise<boolean> {
    return await this.#ends.hasEnded(container, processes, signal);
  }

  async exitOf(container: RuntimeContainer, signal: AbortSignal): Promise<ExitReport | LostContainer> {
    return await this.#ends.exitOf(container, signal);
  }

  async view(container: RuntimeContainer, signal: AbortSignal): Promise<RuntimeView> {
    return await this.#ends.view(container, signal);
  }

  async #usage(container: RuntimeContainer, signal: AbortSignal): Promise<CgroupUsage | undefined> {
    const task = await this.#shims.task(container, signal);
    const { stats } = await task.call("Stats", { id: container.id }, { timeoutMs: answerTimeoutMs, signal });
    const metrics = metricsOf(stats);
    return metrics === undefined ? undefined : usageOf(metrics);
  }

  #execShim(container: RuntimeContainer): ExecShim {
    return {
      turn: (signal) => this.#execTurns.acquire(container.sandboxId, signal),
      task: (signal) => this.#shims.task(container, signal),
      hasHostProcesses: this.#o.hasHostProcesses,
    };
  }

  /**
   * Whether a container ends after a SIGKILL to all of it. A guest that does not end its processes can be ended itself;
   * what the kernel of this machine holds ends with nothing.
   */
  async #dies(container: RuntimeContainer, shim: ShimProcess, signal: AbortSignal): Promise<boolean> {
    const { hasHostProcesses } = this.#o;
    const timeoutMs = hasHostProcesses ? unstartedDeathMs : deathMs;
    return (await this.#ends.endsWithin(container, shim, timeoutMs, signal)) || hasHostProcesses;
  }

  async #kill(
    container: RuntimeContainer,
    kill: { signal: number; all?: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const shim = this.#shims.of(container);
    if (shim === undefined || shim.lost !== undefined) return;
    try {
      const task = await shim.task(signal);
      await task.call("Kill", { id: container.id, ...kill }, { timeoutMs: killTimeoutMs, signal });
    } catch (error) {
      // The container has ended.
      if (codeOf(error) === Code.NotFound) return;
      if (codeOf(error) === Code.Unavailable && !signal.aborted && (await shim.endsWithin(dyingMs))) return;
      if (signal.aborted || kill.signal !== sigkill || codeOf(error) !== Code.DeadlineExceeded) throw error;
      shim.hangs(`it has not answered a Kill for ${killTimeoutMs / 1000} s`);
    }
  }

  async #closeInput(bundle: Bundle): Promise<void> {
    const signal = AbortSignal.timeout(answerTimeoutMs);
    try {
      const task = await this.#shims.task(bundle, signal);
      await task.call("CloseIO", { id: bundle.id, stdin: true }, { timeoutMs: answerTimeoutMs, signal });
    } catch (error) {
      this.#o.log.debug({ containerId: bundle.id, err: error }, "cannot close the input of a container");
    }
  }
}

/** An error without a code is one of the runtime behind the shim. */
function known(error: unknown): unknown {
  return codeOf(error) === Code.Unknown ? new StatusError(Code.Internal, messageOf(error), error) : error;
}

function identify(pid: number): ProcessIdentity {
  const startTicks = pid > 1 ? processStartTicks(pid) : null;
  if (startTicks === null)
    throw new StatusError(
      Code.Internal,
      `the shim says that the container's first process is ${pid}, but there is no such process`,
    );
  return { pid, startTicks };
}
