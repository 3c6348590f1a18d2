import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import type { ExecOutput } from "./exec-output.ts";

/** What a runtime needs to know about a container besides its spec. */
export interface RuntimeContainer {
  readonly id: string;
  /** The pod's id; it is also the id of the container that is the pod's sandbox, where there is one. */
  readonly sandboxId: string;
  /** The container's own directory, which lasts until the next boot, with `rootfs` mounted in it. */
  readonly bundleDir: string;
  /** The same path below each cgroup hierarchy. */
  readonly cgroupPath: string;
  /** Absolute; "" for no log. */
  readonly logPath: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  /** Whether its spec has mappings of ids. Only `exec` and `execStreams` need it; where it is missing they look there. */
  readonly mapsIds?: boolean;
}

export interface RunningProcesses {
  /**
   * The container's first process; undefined when it is in a guest or under another kernel, and so no process of this
   * machine.
   */
  readonly main?: ProcessIdentity | undefined;
  /** The process that holds its streams and learns its exit code. */
  readonly monitor: ProcessIdentity;
}

/** How a container ended, as its monitor recorded it. */
export interface ExitReport {
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly oomKilled: boolean;
}

/** A container that may still run or not: nothing is left that could tell. */
export interface LostContainer {
  /** What happened, in words for people. */
  readonly lost: string;
}

/** Our ends of a command's streams, by fd. */
export type ExecStreams =
  | {
      readonly is: "pipes";
      /** May be undefined when the command was started without input. */
      readonly stdin: number | undefined;
      readonly stdout: number;
      readonly stderr: number;
    }
  /** All output is read from the terminal's master, and all input is written to it. */
  | { readonly is: "terminal"; readonly master: number };

/** A command that runs in a container while somebody reads and writes its streams. */
export interface RunningExec {
  /** The caller closes them. Closing stdin ends the command's input. */
  readonly streams: ExecStreams;
  /**
   * Resolves with the exit code when the command has ended; others may still have its streams open. Rejects when it
   * could not be started (FailedPrecondition, with the runtime's words), and with the signal's reason when that had it
   * killed.
   */
  readonly ended: Promise<number>;
  /** Sets the size of its terminal, if it has one. */
  resize(size: TerminalSize): void;
  /**
   * To be called when the stdin of `streams` was closed, for a runtime that has it open too, as a shim has its FIFO.
   */
  stdinClosed?(): void;
}

/** Where a container is according to the runtime itself; undefined when it knows none of that id. */
export type RuntimeView = "created" | "running" | "stopped" | undefined;

/** Runs the containers of one handler. Every call but `create` and `exec` may be repeated. */
export interface Runtime {
  /**
   * Creates the container's processes, stopped before the first instruction. After an error nothing remains but the
   * bundle.
   */
  create(container: RuntimeContainer, spec: Spec, signal: AbortSignal): Promise<RunningProcesses>;
  start(container: RuntimeContainer, processes: RunningProcesses, signal: AbortSignal): Promise<void>;
  /** Sends a signal to the first process; does nothing when that has ended. */
  signal(container: RuntimeContainer, processes: RunningProcesses, number: number, signal: AbortSignal): Promise<void>;
  /**
   * Sends SIGKILL to everything in the container. Absent where everything is in its cgroup, which the daemon kills
   * itself.
   */
  kill?(container: RuntimeContainer, signal: AbortSignal): Promise<void>;
  /**
   * Writes these limits to the cgroup of a created or running container; limits that they do not name stay as they are.
   */
  update(container: RuntimeContainer, resources: ResourcesSpec, signal: AbortSignal): Promise<void>;
  /**
   * Runs a command to its end, without input, and resolves with its exit code. When the signal aborts, kills it with
   * everything that it started. After the end, `output` is added to by nobody.
   */
  exec(container: RuntimeContainer, process: ProcessSpec, output: ExecOutput, signal: AbortSignal): Promise<number>;
  /**
   * Starts a command with streams, or, if it wants one, a terminal of `process.consoleSize`. Killed as with `exec`.
   *
   * @param hasInput whether anybody will write to its stdin.
   */
  execStreams(
    container: RuntimeContainer,
    process: ProcessSpec,
    hasInput: boolean,
    signal: AbortSignal,
  ): Promise<RunningExec>;
  /**
   * The streams of a running container: the fd of a connected SOCK_SEQPACKET socket, which the caller closes. Packets
   * from it hold what the container writes from now on, after a first byte that is 2 for stdout and 3 for stderr;
   * packets to it, of 8 KiB at most, are the container's input. It must be read at all times, or the container waits.
   * Throws FailedPrecondition when the monitor is not there.
   */
  attach(container: RuntimeContainer, signal: AbortSignal): Promise<number>;
  /** Sets the size of a container's terminal. */
  resizeTerminal(container: RuntimeContainer, size: TerminalSize): Promise<void>;
  /**
   * What the container uses, as far as the runtime knows. Absent where the host's cgroups have these numbers. Called in
   * the background, one call at a time for each container.
   */
  usage?(container: RuntimeContainer, signal: AbortSignal): Promise<CgroupUsage | undefined>;
  /**
   * What names a container's PID namespace in the spec of another that joins it. Absent where that is its path in
   * /proc.
   */
  pidNamespaceOf?(container: RuntimeContainer): string | undefined;
  /**
   * Connects to a port of a pod that has a network stack of its own, so that its network namespace does not lead there.
   * Returns the fd of a stream socket, which the caller closes. Throws what `connectLoopback` throws. Absent where the
   * network namespace leads to the port.
   *
   * @param sandbox the container that is the pod's sandbox.
   */
  connectPort?(sandbox: RuntimeContainer, port: number, signal: AbortSignal): Promise<number>;
  /**
   * The processes of a container whose record does not name them, found by its bundle; undefined when none of this
   * runtime run for it.
   */
  findProcesses(container: Pick<RuntimeContainer, "id" | "bundleDir">): RunningProcesses | undefined;
  /** Ends the commands that an earlier daemon was running in the container. */
  endExecs(container: RuntimeContainer): void;
  /** Has the monitor write to a new file at the log's path; returns when that exists. */
  reopenLog(container: RuntimeContainer, monitor: ProcessIdentity, signal: AbortSignal): Promise<void>;
  /** Kills what is left of the container, and forgets it. */
  delete(container: Pick<RuntimeContainer, "id" | "bundleDir">, signal: AbortSignal): Promise<void>;
  /**
   * Calls back once, never before it returns: when the container has ended and everything about its end is known, or
   * its monitor is gone.
   */
  watch(container: RuntimeContainer, processes: RunningProcesses, onEnd: () => void): Disposable;
  /** Whether `watch` would call back now. */
  hasEnded(container: RuntimeContainer, processes: RunningProcesses, signal: AbortSignal): Promise<boolean>;
  /** How a container that has ended did; undefined when its monitor was killed before it recorded that. */
  exitOf(container: RuntimeContainer, signal: AbortSignal): Promise<ExitReport | LostContainer | undefined>;
  view(container: RuntimeContainer, signal: AbortSignal): Promise<RuntimeView>;
}
