import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "@keelson/base/log.ts";
import { Code, codeOf, StatusError } from "@keelson/base/status.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import { timestampNs } from "@keelson/shim/any.ts";
import { Status } from "@keelson/shim/gen/containerd/task/v2/task.ts";
import type { ExitReport, LostContainer, RunningProcesses, RuntimeContainer, RuntimeView } from "../runtime.ts";
import { readExit, readOutOfMemory, writeExit } from "./bundle-files.ts";
import type { ContainerStreams } from "./container-streams.ts";
import { answerTimeoutMs, endlessMs, unstartedDeathMs } from "./deadlines.ts";
import type { ShimProcess } from "./shim-process.ts";
import type { ShimProcesses } from "./shim-processes.ts";

/** How long after a failure a shim is asked again, in ms. */
const retryMs = 1000;

/** 128 and SIGKILL. */
const killedExitCode = 137;

/** How a container ended, as its shim says. */
interface Exit {
  readonly exitStatus: number;
  /** 0n when the shim does not say. */
  readonly exitedAtNs: bigint;
}

/** Whether and how the containers of one handler's shims have ended. The answer is recorded in the bundle. */
export class ContainerEnds {
  readonly #shims: ShimProcesses;
  readonly #streams: ContainerStreams;
  readonly #log: Log;
  /** Ends that are being recorded, by container. */
  readonly #settling = new Map<string, Promise<void>>();
  /** For those that wait for a container's end: its shim may never answer them. By container. */
  readonly #noted = new Map<string, PromiseWithResolvers<void>>();

  constructor({ shims, streams, log }: { shims: ShimProcesses; streams: ContainerStreams; log: Log }) {
    this.#shims = shims;
    this.#streams = streams;
    this.#log = log;
  }

  /** See `Runtime.watch`. */
  watch(container: RuntimeContainer, { monitor }: RunningProcesses, onEnd: () => void): Disposable {
    const abort = new AbortController();
    void this.#untilEnd(container, monitor, abort.signal).then((hasEnded) => {
      if (hasEnded) onEnd();
    });
    return { [Symbol.dispose]: () => abort.abort() };
  }

  /** See `Runtime.hasEnded`. */
  async hasEnded(container: RuntimeContainer, { monitor }: RunningProcesses, signal: AbortSignal): Promise<boolean> {
    if (readExit(container.bundleDir) !== undefined) return true;
    const shim = this.#shims.of(container, monitor);
    if (shim === undefined || shim.lost !== undefined) return true;
    await this.#streams.open(container);
    const state = await this.#state(container, signal);
    if (state?.status === Status.STOPPED) await this.#settle(container, shim, state);
    return state === undefined || state.status === Status.STOPPED;
  }

  /** See `Runtime.exitOf`. */
  async exitOf(container: RuntimeContainer, signal: AbortSignal): Promise<ExitReport | LostContainer> {
    const report = readExit(container.bundleDir);
    if (report !== undefined) return report;
    const shim = this.#shims.of(container);
    if (shim === undefined) return { lost: "its shim is no longer known" };
    if (shim.lost !== undefined) return { lost: shim.lost };
    const state = await this.#state(container, signal);
    if (state?.status === Status.STOPPED) await this.#settle(container, shim, state);
    return (
      readExit(container.bundleDir) ?? { lost: `its shim (process ${shim.identity.pid}) does not say how it ended` }
    );
  }

  /**
   * After a SIGKILL to all of the container: whether its end is recorded in time. One that was never started may have
   * no process that could end, so that its shim never says that it has: then its end is recorded here.
   */
  async endsWithin(
    container: RuntimeContainer,
    shim: ShimProcess,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<boolean> {
    const until = performance.now() + timeoutMs;
    const unstartedUntil = performance.now() + unstartedDeathMs;
    for (let pauseMs = 5; ; pauseMs = Math.min(2 * pauseMs, 200)) {
      if (readExit(container.bundleDir) !== undefined || shim.lost !== undefined) return true;
      const now = performance.now();
      const state = now < unstartedUntil ? undefined : await this.#state(container, signal);
      if (state?.status === Status.STOPPED) await this.#settle(container, shim, state);
      else if (state?.status === Status.CREATED)
        await this.#settle(container, shim, { exitStatus: killedExitCode, exitedAtNs: 0n });
      else if (now >= until) return false;
      else await delay(pauseMs, undefined, { signal });
    }
  }

  /** See `Runtime.view`. */
  async view(container: RuntimeContainer, signal: AbortSignal): Promise<RuntimeView> {
    if (readExit(container.bundleDir) !== undefined) return "stopped";
    const shim = this.#shims.of(container);
    if (shim === undefined || shim.lost !== undefined) return undefined;
    const state = await this.#state(container, signal);
    if (state === undefined) return undefined;
    if (state.status === Status.CREATED) return "created";
    return state.status === Status.STOPPED ? "stopped" : "running";
  }

  /** undefined when the shim knows no container of that id. */
  async #state(container: RuntimeContainer, signal: AbortSignal): Promise<({ status: number } & Exit) | undefined> {
    try {
      const task = await this.#shims.task(container, signal);
      const limits = { timeoutMs: answerTimeoutMs, signal };
      const { status, exitStatus, exitedAt } = await task.call("State", { id: container.id }, limits);
      return { status, exitStatus, exitedAtNs: timestampNs(exitedAt) };
    } catch (error) {
      if (codeOf(error) === Code.NotFound) return undefined;
      throw error;
    }
  }

  /** True when the container has ended or its shim is gone; false when the signal aborted before. */
  async #untilEnd(container: RuntimeContainer, monitor: ProcessIdentity, signal: AbortSignal): Promise<boolean> {
    const { id, bundleDir } = container;
    while (!signal.aborted) {
      const shim = this.#shims.of(container, monitor);
      if (readExit(bundleDir) !== undefined || shim === undefined) return true;
      try {
        if (shim.lost === undefined) {
          await this.#streams.open(container);
          await this.#waitFor(container, shim, signal);
          return true;
        }
      } catch (error) {
        if (signal.aborted) return false;
        if (codeOf(error) === Code.NotFound) return true;
        if (shim.lost === undefined) {
          this.#log.debug({ containerId: id, err: error }, "the end of a container cannot be waited for; trying again");
          await delay(retryMs);
          continue;
        }
      }
      shim.leave(id);
      await this.#streams
        .close(container)
        .catch((error: unknown) =>
          this.#log.warn({ containerId: id, err: error }, "the last output of a container is lost"),
        );
      return true;
    }
    return false;
  }

  /** Returns when the end is recorded. Throws when the shim is gone. */
  async #waitFor(container: RuntimeContainer, shim: ShimProcess, signal: AbortSignal): Promise<void> {
    shim.follow(container.id);
    const lost = new AbortController();
    using _ = shim.onLost(() => lost.abort(new StatusError(Code.Unavailable, shim.lost ?? "")));
    const both = AbortSignal.any([signal, lost.signal]);
    const noted = Promise.withResolvers<void>();
    this.#noted.set(container.id, noted);
    using waiting = new DisposableStack();
    waiting.defer(() => this.#noted.get(container.id) === noted && this.#noted.delete(container.id));
    for (;;) {
      try {
        const task = await shim.task(both);
        const answered = new AbortController();
        const limits = { timeoutMs: endlessMs, signal: AbortSignal.any([both, answered.signal]) };
        const ended = task.call("Wait", { id: container.id }, limits);
        try {
          const end = await Promise.race([ended, noted.promise]);
          if (end === undefined) return;
          const { exitStatus, exitedAt } = end;
          return await this.#settle(container, shim, { exitStatus, exitedAtNs: timestampNs(exitedAt) });
        } finally {
          answered.abort();
          ended.catch(() => {});
        }
      } catch (error) {
        if (codeOf(error) !== Code.DeadlineExceeded) throw error;
      }
    }
  }

  /**
   * Records how a container ended, once all its output is in the log. The shim keeps the container, and with it the
   * container's cgroup, until `delete`.
   */
  #settle(container: RuntimeContainer, shim: ShimProcess, exit: Exit): Promise<void> {
    const settling =
      this.#settling.get(container.id) ??
      this.#settleNow(container, shim, exit).finally(() => {
        this.#settling.delete(container.id);
        this.#noted.get(container.id)?.resolve();
      });
    this.#settling.set(container.id, settling);
    return settling;
  }

  async #settleNow(
    { id, bundleDir }: RuntimeContainer,
    shim: ShimProcess,
    { exitStatus, exitedAtNs }: Exit,
  ): Promise<void> {
    shim.leave(id);
    await this.#streams.close({ id, bundleDir });
    if (readExit(bundleDir) !== undefined || !existsSync(bundleDir)) return;
    const finishedAtNs = exitedAtNs === 0n ? BigInt(Date.now()) * 1_000_000n : exitedAtNs;
    writeExit(bundleDir, { exitCode: exitStatus, finishedAtNs, oomKilled: readOutOfMemory(bundleDir) });
  }
}
