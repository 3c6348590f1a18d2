import { rmSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Log } from "@keelson/base/log.ts";
import { makeDirectories } from "@keelson/linux/make-directories.ts";
import { makeFifo } from "@keelson/linux/pipe.ts";
import { seqpacketPair } from "@keelson/linux/seqpacket.ts";
import { PumpThread } from "../log-pump/pump-thread.ts";
import type { RuntimeContainer } from "../runtime.ts";
import type { Bundle } from "./bundle-files.ts";
import { followShimLog, makeShimLog } from "./shim-log.ts";
import { holdStreams, letGoOfStreams } from "./stream-holder.ts";

/** How long to wait for more output after a container's end, in ms. */
const drainMs = 2000;

/** FIFOs by path, as a shim's Create takes them; "" for a stream that the container does not have. */
export interface StreamPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ContainerStreamsOptions {
  /** The handler's name, for the log. */
  readonly handler: string;
  readonly log: Log;
  /** Has the shim close a container's stdin. Never throws. */
  readonly closeInput: (bundle: Bundle) => Promise<void>;
}

/**
 * The streams of the containers of one handler's shims: FIFOs in their bundles, which a thread of ours copies to the log
 * and to attached clients, and the FIFO to which a shim writes its own messages.
 */
export class ContainerStreams {
  readonly #handler: string;
  readonly #log: Log;
  readonly #pumps: PumpThread;
  /** The bundles of the containers whose streams are copied, by id. */
  readonly #bundleDirs = new Map<string, string>();
  /** Readers of the shims' own messages, by container. */
  readonly #shimLogs = new Map<string, Disposable>();

  constructor({ handler, log, closeInput }: ContainerStreamsOptions) {
    this.#handler = handler;
    this.#log = log;
    this.#pumps = new PumpThread(log, (id) => {
      const bundleDir = this.#bundleDirs.get(id);
      if (bundleDir !== undefined) void closeInput({ id, bundleDir });
    });
  }

  /** Makes the streams of a new container, and copies them from now on. */
  async create(container: RuntimeContainer): Promise<StreamPaths> {
    const { bundleDir, tty } = container;
    if (!this.#shimLogs.has(container.id)) {
      rmSync(join(bundleDir, "log"), { force: true });
      makeShimLog(bundleDir);
      this.#followShimLog(container);
    }
    if (isSandbox(container)) return { stdin: "", stdout: "", stderr: "" };
    for (const name of ["stdin", "stdout", "stderr"]) {
      rmSync(join(bundleDir, name), { force: true });
      rmSync(join(bundleDir, `${name}.spool`), { force: true });
      makeFifo(join(bundleDir, name), 0o600);
    }
    if (container.logPath !== "") makeDirectories(dirname(container.logPath), 0o755);
    holdStreams(bundleDir, ["stdout", "stderr"]);
    await this.open(container);
    const path = (name: string, isWanted: boolean) => (isWanted ? join(bundleDir, name) : "");
    return { stdin: path("stdin", container.stdin), stdout: path("stdout", true), stderr: path("stderr", !tty) };
  }

  /** Copies the streams of a container from now on, if that is not being done already: an earlier daemon may have created it. */
  async open(container: RuntimeContainer): Promise<void> {
    const { id, bundleDir: dir, logPath, tty, stdin, stdinOnce } = container;
    this.#followShimLog(container);
    if (isSandbox(container)) return;
    this.#bundleDirs.set(id, dir);
    await this.#pumps.open({ id, dir, logPath, tty, stdin, stdinOnce });
  }

  /** Copies the last output of a container that has ended, and closes its streams. */
  async close({ id, bundleDir }: Bundle): Promise<void> {
    await this.#pumps.close(id, drainMs);
    letGoOfStreams(bundleDir);
    this.#bundleDirs.delete(id);
    this.#shimLogs.get(id)?.[Symbol.dispose]();
    this.#shimLogs.delete(id);
  }

  isOpen(id: string): boolean {
    return this.#pumps.has(id);
  }

  /** The bundle of a container whose streams are copied. */
  bundleDirOf(id: string): string | undefined {
    return this.#bundleDirs.get(id);
  }

  /** See `Runtime.attach`. */
  async attach(id: string): Promise<number> {
    const { a, b } = seqpacketPair();
    await this.#pumps.attach(id, b);
    return a;
  }

  async reopenLog(id: string): Promise<void> {
    await this.#pumps.reopenLog(id);
  }

  #followShimLog({ id, bundleDir }: Bundle): void {
    if (this.#shimLogs.has(id)) return;
    this.#shimLogs.set(id, followShimLog(bundleDir, this.#log, { containerId: id, handler: this.#handler }));
  }
}

/** A sandbox has no output. */
function isSandbox({ id, sandboxId }: RuntimeContainer): boolean {
  return id === sandboxId;
}
