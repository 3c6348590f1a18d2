import type { ExitReport } from "@keelson/runtimes/runtime.ts";
import type { Clock, Handlers, Logging, Machine, Records } from "../capabilities.ts";
import { endOf } from "../machine/out-of-memory.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { type ContainerEvent, containerTransition } from "../records/container-state.ts";
import { killContainer, runtimeOf } from "./runtime-container.ts";

const retryMs = 1000;

/** How long finding out about an end, and killing what is left, may take, in ms. */
const endTimeoutMs = 10_000;

export interface ExitWatchDeps
  extends Pick<Records, "containers">, Handlers, Pick<Machine, "containerHost">, Clock, Logging {
  /** Gives back what an ended container needs no more, ahead of RemoveContainer. */
  release(id: string): Promise<void>;
  /** Told of each end that is noted. */
  onExit(reason: string): void;
}

/** Notes the end of containers. */
export class ExitWatch {
  readonly #d: ExitWatchDeps;
  readonly #watched = new Map<string, Disposable>();

  constructor(deps: ExitWatchDeps) {
    this.#d = deps;
  }

  /** Watches a container whose monitor runs; one that has ended meanwhile is noted at once. */
  watch(record: ContainerRecord): void {
    const { id, state } = record;
    if (state.is !== "created" && state.is !== "running") return;
    if (this.#watched.has(id)) return;
    const { runtime, container } = runtimeOf(this.#d, record);
    this.#watched.set(
      id,
      runtime.watch(container, state, () => void this.#ended(id)),
    );
  }

  /** Stops watching a container that is being removed. */
  forget(id: string): void {
    this.#watched.get(id)?.[Symbol.dispose]();
    this.#watched.delete(id);
  }

  async #ended(id: string): Promise<void> {
    this.forget(id);
    const { containers, log } = this.#d;
    try {
      const record = containers.get(id);
      if (record === undefined) return;
      const event = await exitEvent(this.#d, record);
      // Removed while we looked.
      if (containers.get(id) === undefined) return;
      containers.update(id, (r) => ({ ...r, state: containerTransition(r.state, event, r.createdAtNs) }));
      if (event.type === "exited") this.#d.onExit(event.reason);
      log.debug({ containerId: id, event }, "container ended");
    } catch (error) {
      log.error({ containerId: id, err: error }, "the end of a container cannot be noted; trying again in a second");
      this.#tryAgain(id);
      return;
    }
    this.#d
      .release(id)
      .catch((error: unknown) =>
        log.warn({ containerId: id, err: error }, "an ended container is not released yet; RemoveContainer will"),
      );
  }

  /** A disk that is full now may have room later; without this the container would be listed as running for ever. */
  #tryAgain(id: string): void {
    const timer = setTimeout(() => void this.#ended(id), retryMs).unref();
    this.#watched.set(id, { [Symbol.dispose]: () => clearTimeout(timer) });
  }
}

/**
 * How a container whose monitor is gone has ended. Kills what is left of it: of one that shares
 * the PID namespace of its pod or of the host, children may outlive the first process.
 */
export async function exitEvent(
  d: Handlers & Pick<Machine, "containerHost"> & Clock,
  record: ContainerRecord,
): Promise<ContainerEvent> {
  const signal = AbortSignal.timeout(endTimeoutMs);
  await killContainer(d, record, signal);
  const { runtime, container } = runtimeOf(d, record);
  const report = await runtime.exitOf(container, signal);
  if (report !== undefined && "lost" in report) return { type: "lost", message: report.lost };
  if (report !== undefined) {
    const oom = ifKnown(() => d.containerHost.outOfMemory(record.cgroupPath, mayBeForWantOfMemory(report, record)));
    return (
      failedExecution(d, record, report) ?? {
        type: "exited",
        exitCode: report.exitCode,
        ...endOf(report, oom, record),
        atNs: report.finishedAtNs,
      }
    );
  }
  // Without its monitor nobody reads the container's output or learns its exit code.
  const message =
    "the container's monitor (conmon) was killed; the container was stopped with it and its exit code is not known";
  return { type: "exited", exitCode: 137, reason: "MonitorLost", message, atNs: d.nowNs() };
}

/** A child that was killed for its container's limit shows in the container's exit code only by its not being 0. */
function mayBeForWantOfMemory({ oomKilled, exitCode }: ExitReport, { resources }: ContainerRecord): boolean {
  return oomKilled || exitCode === 137 || (exitCode !== 0 && (resources?.memoryLimitInBytes ?? 0n) > 0n);
}

/** How long the runtime may take from the start until execve(2) fails, in ns. */
const execWithinNs = 10_000_000_000n;

/**
 * The runtimes learn too late that a command has no interpreter or is for another machine: their process then ends
 * as if it were the command, with a line in the container's log. A command that looks so cannot have run.
 */
function failedExecution(
  d: Pick<ExitWatchDeps, "containerHost">,
  { id, state }: ContainerRecord,
  report: ExitReport,
): ContainerEvent | undefined {
  if (report.exitCode === 0 || report.exitCode > 128 || report.oomKilled) return undefined;
  if (state.is === "running" && report.finishedAtNs - state.startedAtNs > execWithinNs) return undefined;
  const problem = ifKnown(() => d.containerHost.commandProblem(id));
  return problem === undefined
    ? undefined
    : { type: "exited", ...problem, reason: "StartError", atNs: report.finishedAtNs };
}

/** Why something ended is good to know; that it has must be noted whatever there is to see of that. */
function ifKnown<T>(look: () => T | undefined): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
