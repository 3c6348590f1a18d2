import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import type { Exits, Handlers, Machine, Records } from "../capabilities.ts";
import { type Progress, unfollowed } from "../progress.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { killContainer, runtimeOf } from "./runtime-container.ts";
import { killUnreadable, knownRuntimeOf, type Unreadable } from "./unreadable.ts";

/** After SIGKILL a process is gone in milliseconds, unless the kernel holds it. */
const killTimeoutMs = 10_000;

const hasEnded = ({ state }: ContainerRecord) =>
  state.is === "exited" || state.is === "unknown" || (state.is === "unreadable" && state.ended !== undefined);

/** What stopping a container needs. */
export type ContainerStopping = Pick<Records, "containers"> & Handlers & Exits & Pick<Machine, "containerHost">;

/**
 * Ends a container: sends the stop signal, waits up to `graceMs` for it to end by itself, then sends SIGKILL to its
 * whole cgroup. Returns when its end is recorded. Takes no lock. If aborted, it leaves the container to the next stop.
 */
export async function stopContainerProcesses(
  d: ContainerStopping,
  id: string,
  graceMs: number,
  signal: AbortSignal,
  progress: Progress = unfollowed,
): Promise<void> {
  const { stage, detail } = progress;
  const record = d.containers.get(id);
  // CreateContainer takes down what it is creating; callers that must wait for that hold the pod lock.
  if (record === undefined || hasEnded(record) || record.state.is === "creating") return;
  // Usually it is watched already, unless that failed when the daemon started.
  d.exits.watch(record);
  const { state, stopSignal } = record;
  if (state.is === "unreadable") return await stopUnreadable(d, { ...record, state }, graceMs, signal, progress);
  const { runtime, container } = runtimeOf(d, record);
  // A container that was never started has no process that handles signals.
  if (state.is === "running" && graceMs > 0) {
    stage("wait for it to end by itself");
    detail(`wait up to ${graceMs / 1000} s for container ${id} to end after ${stopSignal.name}`);
    await runtime.signal(container, state, stopSignal.number, signal);
    if (await endsWithin(d, id, graceMs, signal)) return;
  }
  stage("kill it");
  detail(`kill container ${id}`);
  try {
    if (state.is === "running" || state.is === "created") await runtime.signal(container, state, 9, signal);
    await killContainer(d, record, signal);
  } catch (error) {
    throw wrapError(`stop container ${id}`, error);
  }
  if (await endsWithin(d, id, killTimeoutMs, signal)) return;
  const view = await runtime.view(container, signal);
  if (view === undefined || view === "stopped") {
    throw new StatusError(
      Code.DeadlineExceeded,
      `stop container ${id}: it has ended, but its end could not be recorded: its monitor does not report it, or the disk is full; keelsond's log says which`,
    );
  }
  throw new StatusError(
    Code.DeadlineExceeded,
    `stop container ${id}: it still runs ${killTimeoutMs / 1000} s after SIGKILL; a process in uninterruptible sleep (often on a network file system) cannot be killed`,
  );
}

/**
 * The same for a container whose record cannot be read, as far as it still says how. The end is recorded in memory
 * only.
 */
async function stopUnreadable(
  d: ContainerStopping,
  record: Unreadable,
  graceMs: number,
  signal: AbortSignal,
  { stage, detail }: Progress,
): Promise<void> {
  const { id, stopSignal, state } = record;
  const known = knownRuntimeOf(d, record);
  if (graceMs > 0 && known !== undefined && state.processes !== undefined) {
    stage("wait for it to end by itself");
    detail(`wait up to ${graceMs / 1000} s for container ${id} to end after ${stopSignal.name}`);
    await known.runtime.signal(known.container, state.processes, stopSignal.number, signal);
    if (await endsWithin(d, id, graceMs, signal)) return;
  }
  stage("kill it");
  detail(`kill container ${id}`);
  try {
    await killUnreadable(d, record, signal);
  } catch (error) {
    throw wrapError(`stop container ${id}`, error);
  }
  // If its monitor is known and watched, that reports how it ended.
  if (known !== undefined && state.processes !== undefined && (await endsWithin(d, id, killTimeoutMs, signal))) return;
  d.containers.update(id, (c) => ({
    ...c,
    state: { ...state, ended: { exitCode: 137, finishedAtNs: 0n } },
  }));
}

/** Whether the container's end is recorded in time. Rejects with the caller's reason when `signal` aborts. */
async function endsWithin(
  d: Pick<Records, "containers">,
  id: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  // setTimeout takes 31 bits; a kubelet's longest grace period is far below.
  const timeout = AbortSignal.timeout(Math.min(timeoutMs, 2 ** 31 - 1));
  try {
    await d.containers.until(id, hasEnded, AbortSignal.any([signal, timeout]));
    return true;
  } catch (error) {
    if (signal.aborted || !timeout.aborted) throw error;
    return false;
  }
}
