import type { ExitReport } from "@keelson/runtimes/runtime.ts";
import type { Clock, Handlers, Logging, Machine, Records } from "../capabilities.ts";
import { endOf } from "../machine/out-of-memory.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { type ContainerEvent, containerTransition } from "../records/container-state.ts";
import { killContainer, runtimeOf } from "./runtime-container.ts";
import { knownRuntimeOf, type Unreadable } from "./unreadable.ts";

const retryMs = 1000;

/** How long finding out how a container ended, and killing what is left of it, may take, in ms. */
const endTimeoutMs = 10_000;

export interface ExitWatchDeps
  extends Pick<Records, "containers">, Handlers, Pick<Machine, "containerHost">, Clock, Logging {
  /** Releases what an ended container no longer needs, ahead of RemoveContainer. */
  release(id: string): Promise<void>;
  /** Called for each end that is recorded. */
  onExit(reason: string): void;
}

/** Records how containers end. */
export class ExitWatch {
  readonly #d: ExitWatchDeps;
  readonly #watched = new Map<string, Disposable>();

  constructor(deps: ExitWatchDeps) {
    this.#d = deps;
  }

  /** Watches a container whose monitor runs. If that has ended in the meantime, the end is recorded at once. */
  watch(record: ContainerRecord): void {
    const { id, state } = record;
    if (this.#watched.has(id)) return;
    if (state.is === "created" || state.is === "running") {
      const { runtime, container } = runtimeOf(this.#d, record);
      this.#watched.set(
        id,
        runtime.watch(container, state, () => void this.#ended(id)),
      );
    }
    if (state.is === "unreadable") this.#watchUnreadable({ ...record, state });
  }

  /**
   * Watches a container whose record cannot be read, if the record still says what to watch. Its end is recorded in
   * memory only, and nothing is killed or released.
   */
  #watchUnreadable(record: Unreadable): void {
    const { id, state } = record;
    const known = knownRuntimeOf(this.#d, record);
    if (known === undefined || state.processes === undefined) return;
    const { runtime, container } = known;
    const end = async () => {
      this.forget(id);
      const { containers, log } = this.#d;
      try {
        const report = await runtime.exitOf(container, AbortSignal.timeout(endTimeoutMs));
        if (report === undefined || "lost" in report || containers.get(id) === undefined) return;
        const event = { type: "exited", ...report, reason: "Error", message: "", atNs: report.finishedAtNs } as const;
        containers.update(id, (r) => ({ ...r, state: containerTransition(r.state, event, r.createdAtNs) }));
        log.info({ containerId: id, exitCode: report.exitCode }, "a container whose record cannot be read has ended");
      } catch (error) {
        log.error(
          { containerId: id, err: error },
          "a container whose record cannot be read has ended; how it ended cannot be found out",
        );
      }
    };
    this.#watched.set(
      id,
      runtime.watch(container, state.processes, () => void end()),
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
      // Removed in the meantime.
      if (containers.get(id) === undefined) return;
      containers.update(id, (r) => ({ ...r, state: containerTransition(r.state, event, r.createdAtNs) }));
      if (event.type === "exited") this.#d.onExit(event.reason);
      log.debug({ containerId: id, event }, "container ended");
    } catch (error) {
      log.error({ containerId: id, err: error }, "the end of a container cannot be recorded; trying again in a second");
      this.#tryAgain(id);
      return;
    }
    this.#d
      .release(id)
      .catch((error: unknown) =>
        log.warn(
          { containerId: id, err: error },
          "an ended container could not be released; RemoveContainer will do it",
        ),
      );
  }

  /** A full disk may have room later; without a retry the container would be listed as running forever. */
  #tryAgain(id: string): void {
    const timer = setTimeout(() => void this.#ended(id), retryMs).unref();
    this.#watched.set(id, { [Symbol.dispose]: () => clearTimeout(timer) });
  }
}

/**
 * How a container whose monitor is gone has ended. Kills what is left of it: if it shares the PID namespace of its pod
 * or of the host, its other processes outlive the first one.
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
    const oom = await ifKnown(() => d.containerHost.outOfMemory(record.cgroupPath, mayBeOutOfMemory(report, record)));
    return (
      (await failedExecution(d, record, report)) ?? {
        type: "exited",
        exitCode: report.exitCode,
        ...endOf(report, oom, record),
        atNs: report.finishedAtNs,
      }
    );
  }
  // Without the monitor nobody reads the container's output or learns its exit code.
  const message =
    "the container's monitor (conmon) was killed, or did not report the container's end and was killed for that; the container was stopped with it, and its exit code is not known";
  return { type: "exited", exitCode: 137, reason: "MonitorLost", message, atNs: d.nowNs() };
}

/**
 * Of a child that was killed at the container's memory limit, the container's exit code shows only that it is not 0.
 */
function mayBeOutOfMemory({ oomKilled, exitCode }: ExitReport, { resources }: ContainerRecord): boolean {
  return oomKilled || exitCode === 137 || (exitCode !== 0 && (resources?.memoryLimitInBytes ?? 0n) > 0n);
}

/** How long a runtime may take from the start until execve(2) fails, in ns. */
const execWithinNs = 10_000_000_000n;

/**
 * Runtimes learn too late that a command has no interpreter or is for another machine: their own process then ends as
 * if it were the command, with a line in the container's log. A command that has such a problem cannot have run.
 */
async function failedExecution(
  d: Pick<ExitWatchDeps, "containerHost">,
  { id, state }: ContainerRecord,
  report: ExitReport,
): Promise<ContainerEvent | undefined> {
  if (report.exitCode === 0 || report.exitCode > 128 || report.oomKilled) return undefined;
  if (state.is === "running" && report.finishedAtNs - state.startedAtNs > execWithinNs) return undefined;
  const problem = await ifKnown(() => d.containerHost.commandProblem(id));
  return problem === undefined
    ? undefined
    : { type: "exited", ...problem, reason: "StartError", atNs: report.finishedAtNs };
}

/** The end of a container must be recorded even when its cause cannot be found out. */
async function ifKnown<T>(look: () => Promise<T | undefined> | T | undefined): Promise<T | undefined> {
  try {
    return await look();
  } catch {
    return undefined;
  }
}
