import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { namingFile } from "@keelson/base/exhaustion.ts";
import { KeyedLock } from "@keelson/base/keyed-lock.ts";
import type { Log } from "@keelson/base/log.ts";
import { Code, codeOf, messageOf, StatusError, wrapError } from "@keelson/base/status.ts";
import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { makeDirectories } from "@keelson/linux/make-directories.ts";
import { makeFifo } from "@keelson/linux/pipe.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { signalProcess } from "@keelson/linux/process.ts";
import { processStartTicks } from "@keelson/linux/procfs.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import { run } from "@keelson/linux/run.ts";
import { seqpacketPair } from "@keelson/linux/seqpacket.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { metricsOf, specAny, timestampNs } from "@keelson/shim/any.ts";
import { type Command, deleteWithShim, type ShimProgram, startShim } from "@keelson/shim/commands.ts";
import { connectShim } from "@keelson/shim/connection.ts";
import { type ShimEvent, ShimEvents } from "@keelson/shim/events.ts";
import { Status } from "@keelson/shim/gen/containerd/task/v2/task.ts";
import type { Any } from "@keelson/shim/gen/google/protobuf/known.ts";
import type { TaskClient } from "@keelson/shim/task-client.ts";
import { PumpThread } from "./log-pump/pump-thread.ts";
import { specFile } from "./runtime-paths.ts";
import type {
  ExecResult,
  ExitReport,
  LostContainer,
  RunningExec,
  RunningProcesses,
  Runtime,
  RuntimeContainer,
  RuntimeView,
} from "./runtime.ts";
import { forgetEnds, type KnownShim, readExit, readShim, writeExit, writeShim } from "./shim/bundle-files.ts";
import { processesIn } from "./shim/processes-in.ts";
import { endShimExecs, execInShim, execStreamsInShim, type ExecShim } from "./shim/shim-exec.ts";
import { followShimLog, makeShimLog } from "./shim/shim-log.ts";
import { answerTimeoutMs, ShimProcess } from "./shim/shim-process.ts";
import { usageOf } from "./shim/shim-usage.ts";
import { holdStreams, letGoOfStreams } from "./shim/stream-holder.ts";

export interface ShimRuntimeOptions {
  /** The handler's name. */
  readonly name: string;
  /** Absolute path of the shim's binary. */
  readonly path: string;
  /** A directory of ours for this handler. */
  readonly stateDir: string;
  /** The CRI's socket; a part of the names of the shims' own. */
  readonly address: string;
  /** What the shim is told with each container. */
  readonly options: Any | undefined;
  /** Whether the containers' processes are this machine's. */
  readonly hasHostProcesses: boolean;
  readonly log: Log;
}

/** What keeps the containers of this daemon's shims apart from containerd's. */
const namespace = "keelson";

/** How long a shim may take to start, and to make or start a container, which may be a virtual machine, in ms. */
const slowTimeoutMs = 120_000;

/** How long a shim may take to listen, in ms. */
const listenPatienceMs = 5000;

/** How long a shim may take to remove what a container has left, in ms. */
const cleanUpTimeoutMs = 30_000;

/** What a shim answers a SIGKILL within, in ms; one that does not hangs. */
const killTimeoutMs = 5000;

/** How long a shim whose connection is closed may take to be gone, in ms. */
const dyingMs = 2000;

/** How long output is waited for after a container's end, in ms. */
const drainMs = 2000;

/** How long a shim that has no containers any more may take to end, in ms. */
const endMs = 2000;

/** How long after a failure a shim is asked again, in ms. */
const retryMs = 1000;

/** The most that a timer can do, about 24 days. */
const endlessMs = 0x7fffffff;

/** A shim that shares a pod has no more of these than its containers. */
type Bundle = Pick<RuntimeContainer, "id" | "bundleDir">;

/**
 * Any containerd shim v2. It outlives the daemon and has the containers; a thread of ours copies their streams between
 * the FIFOs that it has open and their logs. How a container ended is written into its bundle.
 */
export class ShimRuntime implements Runtime {
  readonly #o: ShimRuntimeOptions;
  readonly #program: ShimProgram;
  readonly #pumps: PumpThread;
  readonly #events: ShimEvents;
  /** By address. */
  readonly #shims = new Map<string, ShimProcess>();
  /** A pod's shim comes and goes with its containers. */
  readonly #pods = new KeyedLock();
  readonly #execTurns = new KeyedLock();
  readonly #logs = new Map<string, Disposable>();
  /** Ends that are being noted, by container. */
  readonly #settling = new Map<string, Promise<void>>();
  readonly #bundles = new Map<string, string>();

  /** Of containers that are in a guest; the host's cgroups know all others. */
  readonly usage?: NonNullable<Runtime["usage"]>;

  constructor(options: ShimRuntimeOptions) {
    this.#o = options;
    if (!options.hasHostProcesses) this.usage = (container, signal) => this.#usage(container, signal);
    mkdirSync(options.stateDir, { recursive: true, mode: 0o700 });
    const eventsPath = join(options.stateDir, "events");
    this.#program = {
      file: options.path,
      namespace,
      address: options.address,
      eventsPath,
      publishBinary: "/bin/true",
      env: { PATH: process.env["PATH"] },
    };
    this.#events = new ShimEvents((event) => this.#take(event));
    rmSync(eventsPath, { force: true });
    const listener = createServer((socket) => this.#events.accept(socket.unref())).unref();
    listener.on("error", (error) =>
      options.log.error({ handler: options.name, err: error }, "the events of shims cannot be taken"),
    );
    listener.listen(eventsPath);
    this.#pumps = new PumpThread(options.log, (id) => void this.#closeInput(id));
  }

  async create(container: RuntimeContainer, spec: Spec, signal: AbortSignal): Promise<RunningProcesses> {
    const { id, sandboxId, bundleDir } = container;
    const withTimeout = AbortSignal.any([signal, AbortSignal.timeout(slowTimeoutMs)]);
    namingFile(specFile(bundleDir), () => writeFileSync(specFile(bundleDir), JSON.stringify(spec), { mode: 0o600 }));
    using _ = await this.#pods.acquire(sandboxId, signal);
    try {
      forgetEnds(bundleDir);
      writeFileSync(this.#mark(bundleDir), "");
      this.#followLog(container, true);
      const streams = await this.#makeStreams(container);
      const shim = await this.#start(container, withTimeout);
      writeShim(bundleDir, shim);
      const task = await shim.task(withTimeout);
      const { pid } = await task.call(
        "Create",
        { id, bundle: bundleDir, terminal: container.tty, ...streams, options: this.#o.options },
        { timeoutMs: slowTimeoutMs, signal: withTimeout },
      );
      shim.follow(id);
      return { main: this.#o.hasHostProcesses ? identify(pid) : undefined, monitor: shim.identity };
    } catch (error) {
      // What is left of a half-made container must not outlive the call, whatever stopped it.
      const isUndone =
        !withTimeout.aborted && codeOf(error) !== Code.Unavailable && codeOf(error) !== Code.DeadlineExceeded;
      await this.#delete(container, AbortSignal.timeout(cleanUpTimeoutMs), isUndone);
      throw wrapError(`create container ${id} with ${this.#o.name}`, known(error));
    }
  }

  async start(container: RuntimeContainer, _processes: RunningProcesses, signal: AbortSignal): Promise<void> {
    try {
      const task = await this.#task(container, signal);
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
    await this.#kill(container, { signal: number }, signal);
  }

  async kill(container: RuntimeContainer, signal: AbortSignal): Promise<void> {
    if (readExit(container.bundleDir) !== undefined || !existsSync(this.#mark(container.bundleDir))) return;
    await this.#kill(container, { signal: 9, all: true }, signal);
    const shim = this.#shimOf(container);
    if (shim?.lost === undefined) return;
    // What it has written and nobody has read is still there.
    await this.#pump(container);
    await this.#cleanUp(container, shim, signal);
  }

  async update(container: RuntimeContainer, resources: ResourcesSpec, signal: AbortSignal): Promise<void> {
    if (Object.keys(resources).length === 0) return;
    try {
      const task = await this.#task(container, signal);
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

  async exec(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal): Promise<ExecResult> {
    return await execInShim(this.#execShim(container), container, process, signal);
  }

  async execStreams(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal): Promise<RunningExec> {
    return await execStreamsInShim(this.#execShim(container), container, process, signal);
  }

  async attach(container: RuntimeContainer): Promise<number> {
    const shim = this.#shimOf(container);
    if (shim === undefined || shim.lost !== undefined || !this.#pumps.has(container.id)) {
      throw new StatusError(
        Code.FailedPrecondition,
        `attach to container ${container.id}: ${shim?.lost ?? "its shim is not there"}`,
      );
    }
    const { a, b } = seqpacketPair();
    await this.#pumps.attach(container.id, b);
    return a;
  }

  async resizeTerminal(container: RuntimeContainer, { rows, columns }: TerminalSize): Promise<void> {
    const signal = AbortSignal.timeout(answerTimeoutMs);
    const task = await this.#task(container, signal);
    await task.call(
      "ResizePty",
      { id: container.id, height: rows, width: columns },
      { timeoutMs: answerTimeoutMs, signal },
    );
  }

  endExecs(container: RuntimeContainer): void {
    const signal = AbortSignal.timeout(cleanUpTimeoutMs);
    this.#task(container, signal)
      .then((task) => endShimExecs(task, container, signal))
      .catch((error: unknown) => {
        this.#o.log.debug(
          { containerId: container.id, err: error },
          "commands that a daemon before this one has run are not ended",
        );
      });
  }

  async reopenLog(container: RuntimeContainer): Promise<void> {
    await this.#pumps.reopenLog(container.id);
  }

  async delete(bundle: Bundle & { readonly sandboxId?: string }, signal: AbortSignal): Promise<void> {
    if (!existsSync(this.#mark(bundle.bundleDir))) return;
    using _ = await this.#pods.acquire(bundle.sandboxId ?? bundle.id, signal);
    await this.#delete(bundle, signal);
  }

  watch(container: RuntimeContainer, processes: RunningProcesses, onEnd: () => void): Disposable {
    const abort = new AbortController();
    void this.#untilEnd(container, processes.monitor, abort.signal).then((hasEnded) => {
      if (hasEnded) onEnd();
    });
    return { [Symbol.dispose]: () => abort.abort() };
  }

  async hasEnded(container: RuntimeContainer, { monitor }: RunningProcesses, signal: AbortSignal): Promise<boolean> {
    if (readExit(container.bundleDir) !== undefined) return true;
    const shim = this.#shimOf(container, monitor);
    if (shim === undefined || shim.lost !== undefined) return true;
    await this.#pump(container);
    const state = await this.#state(container, signal);
    if (state?.status === Status.STOPPED) await this.#settle(container, shim, state);
    return state === undefined || state.status === Status.STOPPED;
  }

  async exitOf(container: RuntimeContainer, signal: AbortSignal): Promise<ExitReport | LostContainer | undefined> {
    const report = readExit(container.bundleDir);
    if (report !== undefined) return report;
    const shim = this.#shimOf(container);
    if (shim === undefined) return { lost: "its shim is not known any more" };
    if (shim.lost !== undefined) return { lost: shim.lost };
    const state = await this.#state(container, signal);
    if (state?.status === Status.STOPPED) await this.#settle(container, shim, state);
    return (
      readExit(container.bundleDir) ?? { lost: `its shim (process ${shim.identity.pid}) does not tell how it ended` }
    );
  }

  async view(container: RuntimeContainer, signal: AbortSignal): Promise<RuntimeView> {
    if (readExit(container.bundleDir) !== undefined) return "stopped";
    const shim = this.#shimOf(container);
    if (shim === undefined || shim.lost !== undefined) return undefined;
    const state = await this.#state(container, signal);
    if (state === undefined) return undefined;
    if (state.status === Status.CREATED) return "created";
    return state.status === Status.STOPPED ? "stopped" : "running";
  }

  async #usage(container: RuntimeContainer, signal: AbortSignal): Promise<CgroupUsage | undefined> {
    const task = await this.#task(container, signal);
    const { stats } = await task.call("Stats", { id: container.id }, { timeoutMs: answerTimeoutMs, signal });
    const metrics = metricsOf(stats);
    return metrics === undefined ? undefined : usageOf(metrics);
  }

  /** Starts the pod's shim, or finds the one that is there. */
  async #start(container: RuntimeContainer, signal: AbortSignal): Promise<ShimProcess> {
    const { id, bundleDir } = container;
    const command = (c: Command, signal: AbortSignal) => run(c, signal);
    const bootstrap = await startShim(
      command,
      this.#program,
      { id, dir: bundleDir },
      this.#o.options,
      slowTimeoutMs,
      signal,
    );
    const there = this.#shims.get(bootstrap.address);
    if (there !== undefined && there.lost === undefined) return there;
    const connection = await connectShim(bootstrap, namespace, listenPatienceMs, signal);
    try {
      const { shimPid } = await connection.task.call("Connect", { id }, { timeoutMs: answerTimeoutMs, signal });
      return this.#add(new ShimProcess(bootstrap, identifyShim(shimPid), namespace, connection));
    } catch (error) {
      connection[Symbol.dispose]();
      throw error;
    }
  }

  #add(shim: ShimProcess): ShimProcess {
    const { address } = shim.bootstrap;
    this.#shims.get(address)?.[Symbol.dispose]();
    this.#shims.set(address, shim);
    return shim;
  }

  /** The shim of a container, of a daemon before this one too. `monitor` is for one that nobody has written down. */
  #shimOf({ bundleDir }: Pick<RuntimeContainer, "bundleDir">, monitor?: ProcessIdentity): ShimProcess | undefined {
    const written: KnownShim | undefined = readShim(bundleDir);
    if (written === undefined) return undefined;
    const there = this.#shims.get(written.bootstrap.address);
    const identity = monitor ?? written.identity;
    if (there?.identity.pid === identity.pid && there.identity.startTicks === identity.startTicks) return there;
    const shim = new ShimProcess(written.bootstrap, written.identity, namespace);
    // The address may be that of another shim of the pod by now.
    return there === undefined || there.lost !== undefined ? this.#add(shim) : shim;
  }

  async #task(container: Pick<RuntimeContainer, "id" | "bundleDir">, signal: AbortSignal): Promise<TaskClient> {
    const shim = this.#shimOf(container);
    if (shim === undefined) throw new StatusError(Code.FailedPrecondition, `container ${container.id} has no shim`);
    return await shim.task(signal);
  }

  #execShim(container: RuntimeContainer): ExecShim {
    return {
      turn: (signal) => this.#execTurns.acquire(container.sandboxId, signal),
      task: (signal) => this.#task(container, signal),
      hasHostProcesses: this.#o.hasHostProcesses,
    };
  }

  /** undefined when the shim knows none of that id. */
  async #state(
    container: RuntimeContainer,
    signal: AbortSignal,
  ): Promise<{ status: number; exitStatus: number; exitedAtNs: bigint } | undefined> {
    try {
      const task = await this.#task(container, signal);
      const { status, exitStatus, exitedAt } = await task.call(
        "State",
        { id: container.id },
        { timeoutMs: answerTimeoutMs, signal },
      );
      return { status, exitStatus, exitedAtNs: timestampNs(exitedAt) };
    } catch (error) {
      if (codeOf(error) === Code.NotFound) return undefined;
      throw error;
    }
  }

  async #kill(
    container: RuntimeContainer,
    kill: { signal: number; all?: boolean },
    signal: AbortSignal,
  ): Promise<void> {
    const shim = this.#shimOf(container);
    if (shim === undefined || shim.lost !== undefined) return;
    try {
      const task = await shim.task(signal);
      await task.call("Kill", { id: container.id, ...kill }, { timeoutMs: killTimeoutMs, signal });
    } catch (error) {
      // It has ended.
      if (codeOf(error) === Code.NotFound) return;
      if (codeOf(error) === Code.Unavailable && !signal.aborted && (await shim.endsWithin(dyingMs))) return;
      if (signal.aborted || kill.signal !== 9 || codeOf(error) !== Code.DeadlineExceeded) throw error;
      shim.hangs(`it has not answered a Kill for ${killTimeoutMs / 1000} s`);
    }
  }

  /** Whether the container has ended, or its shim is gone; false when nobody wants to know any more. */
  async #untilEnd(container: RuntimeContainer, monitor: ProcessIdentity, signal: AbortSignal): Promise<boolean> {
    const { id, bundleDir } = container;
    while (!signal.aborted) {
      const shim = this.#shimOf(container, monitor);
      if (readExit(bundleDir) !== undefined || shim === undefined) return true;
      try {
        if (shim.lost === undefined) {
          await this.#pump(container);
          await this.#waitFor(container, shim, signal);
          return true;
        }
      } catch (error) {
        if (signal.aborted) return false;
        if (codeOf(error) === Code.NotFound) return true;
        if (shim.lost === undefined) {
          this.#o.log.debug(
            { containerId: id, err: error },
            "the end of a container cannot be waited for; trying again",
          );
          await delay(retryMs);
          continue;
        }
      }
      shim.leave(id);
      await this.#closeStreams(container).catch((error: unknown) =>
        this.#o.log.warn({ containerId: id, err: error }, "the last output of a container is lost"),
      );
      return true;
    }
    return false;
  }

  /** Returns when the end is written down. Throws when the shim is gone. */
  async #waitFor(container: RuntimeContainer, shim: ShimProcess, signal: AbortSignal): Promise<void> {
    shim.follow(container.id);
    const lost = new AbortController();
    using _ = shim.onLost(() => lost.abort(new StatusError(Code.Unavailable, shim.lost ?? "")));
    const both = AbortSignal.any([signal, lost.signal]);
    for (;;) {
      try {
        const task = await shim.task(both);
        const { exitStatus, exitedAt } = await task.call(
          "Wait",
          { id: container.id },
          { timeoutMs: endlessMs, signal: both },
        );
        return await this.#settle(container, shim, { exitStatus, exitedAtNs: timestampNs(exitedAt) });
      } catch (error) {
        if (codeOf(error) !== Code.DeadlineExceeded) throw error;
      }
    }
  }

  /** Writes down how a container ended, when all that it has written is in the log. The shim forgets it by `delete`: until then its cgroup is there. */
  #settle(
    container: RuntimeContainer,
    shim: ShimProcess,
    exit: { exitStatus: number; exitedAtNs: bigint },
  ): Promise<void> {
    const under =
      this.#settling.get(container.id) ??
      this.#settleNow(container, shim, exit).finally(() => this.#settling.delete(container.id));
    this.#settling.set(container.id, under);
    return under;
  }

  async #settleNow(
    { id, bundleDir }: RuntimeContainer,
    shim: ShimProcess,
    exit: { exitStatus: number; exitedAtNs: bigint },
  ): Promise<void> {
    shim.leave(id);
    await this.#closeStreams({ id, bundleDir });
    if (readExit(bundleDir) !== undefined || !existsSync(bundleDir)) return;
    const finishedAtNs = exit.exitedAtNs === 0n ? BigInt(Date.now()) * 1_000_000n : exit.exitedAtNs;
    writeExit(bundleDir, { exitCode: exit.exitStatus, finishedAtNs, oomKilled: existsSync(join(bundleDir, "oom")) });
  }

  /** Delete, and Shutdown, which a shim that has other containers passes over. */
  async #forget(bundle: Bundle, shim: ShimProcess, signal: AbortSignal): Promise<void> {
    const { id } = bundle;
    const limits = { timeoutMs: answerTimeoutMs, signal };
    const task = await shim.task(signal);
    try {
      await task.call("Delete", { id }, limits);
    } catch (error) {
      if (codeOf(error) !== Code.NotFound) throw error;
    }
    shim.leave(id);
    // It may end before it has answered.
    await task.call("Shutdown", { id }, limits).catch(() => {});
    if (shim.isFollowed || this.#hasOthers(bundle, shim)) return;
    if (!(await shim.endsWithin(endMs)))
      return this.#o.log.warn(
        { handler: this.#o.name, pid: shim.identity.pid },
        "a shim that has no containers any more does not end",
      );
    shim[Symbol.dispose]();
    if (this.#shims.get(shim.bootstrap.address) === shim) this.#shims.delete(shim.bootstrap.address);
  }

  /** Whether it has other containers in their own bundles: one that has ended is its until it is removed. */
  #hasOthers({ id, bundleDir }: Bundle, shim: ShimProcess): boolean {
    const dir = dirname(bundleDir);
    return readdirSync(dir).some((other) => {
      const otherDir = join(dir, other);
      return (
        other !== id &&
        existsSync(this.#mark(otherDir)) &&
        readShim(otherDir)?.bootstrap.address === shim.bootstrap.address
      );
    });
  }

  /**
   * With the pod's lock.
   *
   * @param isUndone the shim has said that it could not make the container, and so has taken back what it began.
   */
  async #delete(bundle: Bundle, signal: AbortSignal, isUndone = false): Promise<void> {
    const { bundleDir } = bundle;
    const shim = this.#shimOf(bundle);
    if (shim === undefined || shim.lost !== undefined) return await this.#cleanUp(bundle, shim, signal);
    try {
      await this.#end(bundle, shim, signal, isUndone);
    } catch (error) {
      if (signal.aborted) throw error;
      shim.hangs(messageOf(error));
      return await this.#cleanUp(bundle, shim, signal);
    }
    await this.#closeStreams(bundle);
    this.#unmark(bundleDir);
  }

  /** Kills what is left, and has the shim forget it. */
  async #end(bundle: Bundle, shim: ShimProcess, signal: AbortSignal, isUndone: boolean): Promise<void> {
    const { id, bundleDir } = bundle;
    const task = await shim.task(signal);
    if (readExit(bundleDir) !== undefined) return await this.#forget(bundle, shim, signal);
    try {
      await task.call("Kill", { id, signal: 9, all: true }, { timeoutMs: killTimeoutMs, signal });
      await task.call("Wait", { id }, { timeoutMs: answerTimeoutMs, signal });
    } catch (error) {
      if (codeOf(error) === Code.Unavailable || codeOf(error) === Code.DeadlineExceeded) throw error;
      // containerd's ends its OCI runtime in the middle of a Create that nobody waits for any more, and forgets what that has begun.
      // Not otherwise: its `delete` unmounts the root file system too, where it is looked at why a command cannot be executed.
      if (codeOf(error) === Code.NotFound && this.#o.hasHostProcesses && !isUndone)
        await this.#deleteWithShim(bundle, signal);
    }
    await this.#forget(bundle, shim, signal);
  }

  /** Of a shim that is gone, or has to go. */
  async #cleanUp(bundle: Bundle, shim: ShimProcess | undefined, signal: AbortSignal): Promise<void> {
    const { id, bundleDir } = bundle;
    shim?.kill();
    if (shim !== undefined) await this.#deleteWithShim(bundle, signal);
    // One that nobody has written down, since the daemon was killed or its start failed, has made no container yet.
    else for (const { pid, startTicks } of processesIn(bundleDir)) signalProcess(pid, startTicks, 9);
    shim?.leave(id);
    await this.#closeStreams(bundle);
    this.#unmark(bundleDir);
  }

  async #deleteWithShim({ id, bundleDir }: Bundle, signal: AbortSignal): Promise<void> {
    const command = (c: Command, signal: AbortSignal) => run(c, signal);
    try {
      await deleteWithShim(command, this.#program, { id, dir: bundleDir }, cleanUpTimeoutMs, signal);
    } catch (error) {
      // containerd's knows nothing of a container that it was killed before it had made.
      if (signal.aborted || !this.#o.hasHostProcesses) throw error;
      this.#o.log.warn(
        { containerId: id, err: error },
        "a shim does not clean up after a container; its cgroup is killed all the same",
      );
    }
  }

  async #makeStreams(container: RuntimeContainer): Promise<{ stdin: string; stdout: string; stderr: string }> {
    const { id, sandboxId, bundleDir, tty } = container;
    // A sandbox has nothing to say.
    if (id === sandboxId) return { stdin: "", stdout: "", stderr: "" };
    for (const name of ["stdin", "stdout", "stderr"]) {
      rmSync(join(bundleDir, name), { force: true });
      rmSync(join(bundleDir, `${name}.spool`), { force: true });
      makeFifo(join(bundleDir, name), 0o600);
    }
    if (container.logPath !== "") makeDirectories(join(container.logPath, ".."), 0o755);
    holdStreams(bundleDir, ["stdout", "stderr"]);
    await this.#pump(container);
    const path = (name: string, isWanted: boolean) => (isWanted ? join(bundleDir, name) : "");
    return { stdin: path("stdin", container.stdin), stdout: path("stdout", true), stderr: path("stderr", !tty) };
  }

  async #pump(container: RuntimeContainer): Promise<void> {
    const { id, sandboxId, bundleDir: dir, logPath, tty, stdin, stdinOnce } = container;
    this.#followLog(container, false);
    if (id === sandboxId) return;
    this.#bundles.set(id, dir);
    await this.#pumps.open({ id, dir, logPath, tty, stdin, stdinOnce });
  }

  async #closeStreams({ id, bundleDir }: Bundle): Promise<void> {
    await this.#pumps.close(id, drainMs);
    letGoOfStreams(bundleDir);
    this.#bundles.delete(id);
    this.#logs.get(id)?.[Symbol.dispose]();
    this.#logs.delete(id);
  }

  #followLog({ id, bundleDir }: Bundle, isNew: boolean): void {
    if (this.#logs.has(id)) return;
    if (isNew) {
      rmSync(join(bundleDir, "log"), { force: true });
      makeShimLog(bundleDir);
    }
    this.#logs.set(id, followShimLog(bundleDir, this.#o.log, { containerId: id, handler: this.#o.name }));
  }

  async #closeInput(id: string): Promise<void> {
    const bundleDir = this.#bundles.get(id);
    if (bundleDir === undefined) return;
    const signal = AbortSignal.timeout(answerTimeoutMs);
    try {
      const task = await this.#task({ id, bundleDir }, signal);
      await task.call("CloseIO", { id, stdin: true }, { timeoutMs: answerTimeoutMs, signal });
    } catch (error) {
      this.#o.log.debug({ containerId: id, err: error }, "the input of a container cannot be closed");
    }
  }

  /** Any shim may say it of any container; what counts is asked of the container's own. */
  #take(event: ShimEvent): void {
    if (event.type !== "outOfMemory") return;
    const bundleDir = this.#bundles.get(event.containerId);
    if (bundleDir === undefined) return;
    try {
      writeFileSync(join(bundleDir, "oom"), "");
    } catch (error) {
      if (!isErrno(error, "ENOENT"))
        this.#o.log.warn(
          { containerId: event.containerId, err: error },
          "that memory ran out in a container cannot be written down",
        );
    }
  }

  /** In a bundle as long as a shim of this handler may have something of it. */
  #mark(bundleDir: string): string {
    return join(bundleDir, `shim-of-${this.#o.name}`);
  }

  #unmark(bundleDir: string): void {
    rmSync(this.#mark(bundleDir), { force: true });
  }
}

/** A shim's error of no kind is one of the runtime behind it. */
function known(error: unknown): unknown {
  return codeOf(error) === Code.Unknown ? new StatusError(Code.Internal, messageOf(error), error) : error;
}

function identify(pid: number): ProcessIdentity {
  const startTicks = pid > 1 ? processStartTicks(pid) : null;
  if (startTicks === null)
    throw new StatusError(Code.Internal, `its first process is said to be ${pid}, which is not there`);
  return { pid, startTicks };
}

/** A shim that names another process would have us kill that. All have the namespace in their command line. */
function identifyShim(pid: number): ProcessIdentity {
  const startTicks = pid > 1 && pid !== process.pid ? processStartTicks(pid) : null;
  if (startTicks === null || !commandLine(pid).includes(namespace)) {
    throw new StatusError(
      Code.FailedPrecondition,
      `the shim says that it is process ${pid}, which is none that was started with -namespace ${namespace}`,
    );
  }
  return { pid, startTicks };
}

function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return [];
  }
}
