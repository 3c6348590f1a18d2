import type { Stage } from "@keelson/base/joined-calls.ts";
import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import type { Exits, Handlers, Machine, Records } from "../capabilities.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { killContainer, runtimeOf } from "./runtime-container.ts";

/** After SIGKILL a process is gone in milliseconds, unless the kernel holds it. */
const killTimeoutMs = 10_000;

const hasEnded = (record: ContainerRecord) => record.state.is === "exited" || record.state.is === "unknown";

/** What stopping a container takes. */
export type ContainerStopping = Pick<Records, "containers"> & Handlers & Exits & Pick<Machine, "containerHost">;

/**
 * Ends a container: the stop signal, up to `graceMs` for it to end by itself, then SIGKILL for all
 * of its cgroup. Returns when its end is noted. Takes no lock. Aborted, it leaves the container to
 * the next stop.
 */
export async function stopContainerProcesses(
  d: ContainerStopping,
  id: string,
  graceMs: number,
  signal: AbortSignal,
  stage: Stage = () => undefined,
  detail: Stage = () => undefined,
): Promise<void> {
  const record = d.containers.get(id);
  // One that is being created is its creator's to take down; who waits for that holds the pod's lock.
  if (record === undefined || hasEnded(record) || record.state.is === "creating") return;
  // Most likely it is watched; not when that failed as the daemon started.
  d.exits.watch(record);
  const { state, stopSignal } = record;
  const { runtime, container } = runtimeOf(d, record);
  // One that was never started has nobody to handle a signal.
  if (state.is === "running" && graceMs > 0) {
    stage("wait for it to end by itself");
    detail(`wait up to ${graceMs / 1000} s for container ${id} to end by ${stopSignal.name}`);
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
      `stop container ${id}: it has ended, but its end is not noted: its monitor does not tell, or there is no room to write it down; keelsond's log says which`,
    );
  }
  throw new StatusError(
    Code.DeadlineExceeded,
    `stop container ${id}: it is still there ${killTimeoutMs / 1000} s after SIGKILL; a process in uninterruptible sleep (often on a network file system) cannot be killed`,
  );
}

/** Whether the container's end is noted in time. Rejects with the caller's reason when `signal` aborts. */
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
