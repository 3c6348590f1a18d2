import { setTimeout as delay } from "node:timers/promises";
import type { Deadlines, Exits, Logging, Records, Turns } from "../capabilities.ts";
import { type Progress, unfollowed } from "../progress.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { podTransition } from "../records/pod-state.ts";
import { sandboxContainerOf } from "./sandbox-container.ts";
import { type PodTeardown, removeLeftoversOf, stopContainersOf, teardownPod } from "./teardown.ts";

/** What stopping a pod with its containers needs. */
export type PodStopping = Records & Pick<Turns, "podLock"> & PodTeardown & Exits & Deadlines & Logging;

/** Stops a pod with its containers. Returns its record as it is then, undefined when there is no such pod. */
export async function stopPod(
  d: PodStopping,
  id: string,
  signal: AbortSignal,
  progress: Progress = unfollowed,
): Promise<PodRecord | undefined> {
  const { stage } = progress;
  // Before the lock, which is not held while containers end; again under it for containers that came in the meantime.
  stage("end its containers");
  await stopContainersOf(d, id, signal, progress);
  stage("wait for other calls on the pod");
  using _ = await d.podLock.acquire(id, signal);
  stage("end its containers");
  await removeLeftoversOf(d, id, signal);
  await stopContainersOf(d, id, signal, progress);
  return await stopLockedPod(d, id, signal, progress);
}

/**
 * The part of stopping for which the caller holds the pod lock. The pod is `stopping` on disk before the first effect,
 * so that a failure or crash leaves no pod that looks ready.
 */
export async function stopLockedPod(
  d: Records & PodTeardown,
  id: string,
  signal: AbortSignal,
  progress: Progress = unfollowed,
): Promise<PodRecord | undefined> {
  const pod = d.pods.get(id);
  if (pod === undefined || pod.state.is === "notReady") return pod;
  if (pod.state.is === "unreadable" && pod.state.isStopped) return pod;
  const stopping = d.pods.update(id, (p) => ({ ...p, state: podTransition(p.state, { type: "stopping" }) }));
  await teardownPod(d, stopping, signal, progress);
  return d.pods.update(id, (p) => ({
    ...p,
    init: undefined,
    sandbox: undefined,
    state: podTransition(p.state, { type: "stopped" }),
  }));
}

/**
 * Watches what holds a pod together: the init of its PID namespace, or the container that is its sandbox. When that
 * dies, everything in it dies too; the pod is then stopped, and the kubelet makes another one.
 */
export function watchPod(d: PodStopping, pod: PodRecord): void {
  const { init, sandbox } = pod;
  if (init !== undefined)
    d.podHost.watch(init, () => void holderEnded(d, pod.id, "the process that holds a pod's PID namespace"));
  if (sandbox !== undefined)
    d.runtimes
      .handlerOf(pod.handler)
      .runtime.watch(sandboxContainerOf(d, pod), sandbox, () => void holderEnded(d, pod.id, "the sandbox of a pod"));
}

/** How long to wait before a pod whose holder has ended is stopped again, in ms; each time twice as long. */
const firstRetryMs = 1000;
const longestRetryMs = 60_000;

async function holderEnded(d: PodStopping, id: string, holder: string): Promise<void> {
  // Stopping a pod ends its holder; only an unexpected end needs a stop.
  if (d.pods.get(id)?.state.is !== "ready") return;
  d.log.warn({ podSandboxId: id }, `${holder} has ended; stopping the pod`);
  // At once: nothing more is created in it, and the kubelet makes another one, however long its end takes.
  d.pods.update(id, (p) => ({ ...p, state: podTransition(p.state, { type: "stopping" }) }));
  for (let pauseMs = firstRetryMs; ; pauseMs = Math.min(2 * pauseMs, longestRetryMs)) {
    try {
      await stopPod(d, id, AbortSignal.timeout(d.cleanupTimeoutMs));
      return;
    } catch (error) {
      d.log.error(
        { podSandboxId: id, err: error },
        `a pod whose holder has ended cannot be stopped; trying again in ${pauseMs / 1000} s`,
      );
    }
    await delay(pauseMs, undefined, { ref: false });
    if (d.pods.get(id)?.state.is !== "stopping") return;
  }
}
