import type { Deps } from "../deps.ts";
import type { PodRecord } from "./record.ts";
import { podTransition } from "./state.ts";
import { removeLeftoversOf, stopContainersOf, teardownPod } from "./teardown.ts";

/** Stops a pod with its containers; returns its record as it is then, undefined when it is gone. */
export async function stopPod(d: Deps, id: string, signal: AbortSignal): Promise<PodRecord | undefined> {
  // Before the lock, which is not held while containers end; again under it for one that came meanwhile.
  await stopContainersOf(d, id, signal);
  using _ = await d.podLock.acquire(id, signal);
  await removeLeftoversOf(d, id, signal);
  await stopContainersOf(d, id, signal);
  return await stopLockedPod(d, id, signal);
}

/**
 * The part of stopping for which the pod's lock is held. The pod is `stopping` on disk before the
 * first effect: what fails or crashes on the way leaves no pod that looks ready.
 */
export async function stopLockedPod(d: Deps, id: string, signal: AbortSignal): Promise<PodRecord | undefined> {
  const pod = d.pods.get(id);
  if (pod === undefined || pod.state.is === "notReady") return pod;
  const stopping = d.pods.update(id, (p) => ({ ...p, state: podTransition(p.state, { type: "stopping" }) }));
  await teardownPod(d, stopping, signal);
  return d.pods.update(id, (p) => ({ ...p, init: undefined, state: podTransition(p.state, { type: "stopped" }) }));
}

/**
 * Watches the process that holds a pod's PID namespace. When it dies, so does everything in that
 * namespace: the pod is then stopped, and its kubelet makes another one.
 */
export function watchInit(d: Deps, pod: PodRecord): void {
  if (pod.init === undefined) return;
  d.podHost.watch(pod.init, () => void initEnded(d, pod.id));
}

async function initEnded(d: Deps, id: string): Promise<void> {
  // Stopping a pod ends its init; only a death that nobody asked for is news.
  if (d.pods.get(id)?.state.is !== "ready") return;
  d.log.warn({ podSandboxId: id }, "the process that holds a pod's PID namespace has ended; stopping the pod");
  try {
    await stopPod(d, id, AbortSignal.timeout(d.cleanupTimeoutMs));
  } catch (error) {
    d.log.error({ podSandboxId: id, err: error }, "a pod whose init ended cannot be stopped; StopPodSandbox tries again");
  }
}
