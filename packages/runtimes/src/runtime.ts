import type { CgroupUsage } from "@keelson/linux/cgroup-usage.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import type { TerminalSize } from "@keelson/linux/pty.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";

/** What a runtime needs to know of a container beside its spec. */
export interface RuntimeContainer {
  readonly id: string;
  /** The pod's id. The container that is a pod's sandbox has the same as its own. */
  readonly sandboxId: string;
  /** A directory of its own that lasts until the next boot, with `rootfs` mounted in it. */
  readonly bundleDir: string;
  /** The same below each cgroup hierarchy. */
  readonly cgroupPath: string;
  /** Absolute; "" for none. */
  readonly logPath: string;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
}

export interface RunningProcesses {
  /** The container's first process; undefined where the machine has none of it, as it is in a guest or under another kernel. */
  readonly main?: ProcessIdentity | undefined;
  /** Who holds its streams and learns its exit code. */
  readonly monitor: ProcessIdentity;
}

/** How a container ended, as its monitor wrote it down. */
export interface ExitReport {
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly oomKilled: boolean;
}

/** A container that may run or not: nobody is left who can tell. */
export interface LostContainer {
  /** What happened, for people. */
  readonly lost: string;
}

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** More came than is kept. */
  readonly truncated: boolean;
}

/** Our ends of a command's streams, by fd. */
export type ExecStreams =
  | { readonly is: "pipes"; readonly stdin: number; readonly stdout: number; readonly stderr: number }
  /** All output is read from the terminal's master, and all input written to it. */
  | { readonly is: "terminal"; readonly master: number };

/** A command that runs in a container while somebody reads and writes its streams. */
export interface RunningExec {
  /** The caller's to close. Closing stdin is the command's end of input. */
  readonly streams: ExecStreams;
  /**
   * Resolves with the exit code when the command has ended; others may have its streams open still. Rejects when it could
   * not be started (FailedPrecondition, with the runtime's words), and with the signal's reason when it was killed for that.
   */
  readonly ended: Promise<number>;
  /** Sets the size of its terminal, if it has one. */
  resize(size: TerminalSize): void;
  /** Told when the stdin of `streams` was closed, by a runtime's wish: one that has it open itself, as a shim has its FIFO. */
  stdinClosed?(): void;
}

/** Where a container is by the runtime's own account; undefined when it knows none of that id. */
export type RuntimeView = "created" | "running" | "stopped" | undefined;

/** Runs containers of one handler. Every call but `create` and `exec` may be repeated. */
export interface Runtime {
  /** Makes the container's processes, stopped before the first instruction. On an error nothing remains but the bundle. */
  create(container: RuntimeContainer, spec: Spec, signal: AbortSignal): Promise<RunningProcesses>;
  start(container: RuntimeContainer, processes: RunningProcesses, signal: AbortSignal): Promise<void>;
  /** Sends a signal to the first process; nothing happens when that has ended. */
  signal(container: RuntimeContainer, processes: RunningProcesses, number: number, signal: AbortSignal): Promise<void>;
  /** SIGKILL to all that is in the container. Absent where that is all in its cgroup, which the daemon kills itself. */
  kill?(container: RuntimeContainer, signal: AbortSignal): Promise<void>;
  /** Writes these limits to a created or running container's cgroup; what they do not have stays. */
  update(container: RuntimeContainer, resources: ResourcesSpec, signal: AbortSignal): Promise<void>;
  /** Runs a command to its end; when the signal aborts, kills it with all that it started. */
  exec(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal): Promise<ExecResult>;
  /** Starts a command with streams; with a terminal of `process.consoleSize`, if it is to have one. Killed as `exec` is. */
  execStreams(container: RuntimeContainer, process: ProcessSpec, signal: AbortSignal): Promise<RunningExec>;
  /**
   * The streams of a running container: the fd of a connected SOCK_SEQPACKET socket, the caller's to close. Its packets
   * are what the container writes from now on, with a byte before it that is 2 for stdout and 3 for stderr; what is
   * written, in packets of 8 KiB at most, is its input. It must be read at all times, or the container waits.
   * Throws FailedPrecondition when the monitor is not there.
   */
  attach(container: RuntimeContainer, signal: AbortSignal): Promise<number>;
  /** Sets the size of a container's terminal. */
  resizeTerminal(container: RuntimeContainer, size: TerminalSize): Promise<void>;
  /**
   * What the container uses, as far as the runtime knows. Absent where the host's cgroups tell. Asked in the background,
   * each container once at a time.
   */
  usage?(container: RuntimeContainer, signal: AbortSignal): Promise<CgroupUsage | undefined>;
  /** What stands for a container's PID namespace in the spec of another that joins it. Absent where that is in /proc. */
  pidNamespaceOf?(container: RuntimeContainer): string | undefined;
  /**
   * Connects to a port of a pod whose network namespace does not lead there, as it has a network stack of its own:
   * a stream socket, whose fd is the caller's. Throws what `connectLoopback` throws. Absent where the namespace does.
   *
   * @param sandbox the container that is the pod's sandbox.
   */
  connectPort?(sandbox: RuntimeContainer, port: number, signal: AbortSignal): Promise<number>;
  /** Ends commands that a daemon before this one was running in the container. */
  endExecs(container: RuntimeContainer): void;
  /** Makes the monitor write to a new file at the log's path; done when that exists. */
  reopenLog(container: RuntimeContainer, monitor: ProcessIdentity, signal: AbortSignal): Promise<void>;
  /** Forgets the container, killing what is left of it. */
  delete(container: Pick<RuntimeContainer, "id" | "bundleDir">, signal: AbortSignal): Promise<void>;
  /** Calls back once, later, when the container has ended with all that is to be known of that, or its monitor is gone. */
  watch(container: RuntimeContainer, processes: RunningProcesses, onEnd: () => void): Disposable;
  /** What `watch` would call back for, looked for now. */
  hasEnded(container: RuntimeContainer, processes: RunningProcesses, signal: AbortSignal): Promise<boolean>;
  /** How a container ended that has; undefined when its monitor was killed before it wrote that down. */
  exitOf(container: RuntimeContainer, signal: AbortSignal): Promise<ExitReport | LostContainer | undefined>;
  view(container: RuntimeContainer, signal: AbortSignal): Promise<RuntimeView>;
}
