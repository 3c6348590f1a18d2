import type { Stage } from "@keelson/base/joined-calls.ts";
import type { Deadlines, Exits, Logging, Records, Turns } from "../capabilities.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { podTransition } from "../records/pod-state.ts";
import { sandboxContainerOf } from "./sandbox-container.ts";
import { type PodTeardown, removeLeftoversOf, stopContainersOf, teardownPod } from "./teardown.ts";

/** What stopping a pod with its containers takes. */
export type PodStopping = Records & Pick<Turns, "podLock"> & PodTeardown & Exits & Deadlines & Logging;

/**
 * Stops a pod with its containers; returns its record as it is then, undefined when it is gone.
 *
 * @param tell of what goes on within a stage, which errors name by themselves.
 */
export async function stopPod(
  d: PodStopping,
  id: string,
  signal: AbortSignal,
  stage: Stage = () => undefined,
  tell: Stage = () => undefined,
): Promise<PodRecord | undefined> {
  // Before the lock, which is not held while containers end; again under it for one that came meanwhile.
  stage("end its containers");
  await stopContainersOf(d, id, signal, tell);
  stage("wait for other calls on the pod");
  using _ = await d.podLock.acquire(id, signal);
  stage("end its containers");
  await removeLeftoversOf(d, id, signal);
  await stopContainersOf(d, id, signal, tell);
  return await stopLockedPod(d, id, signal, stage, tell);
}

/**
 * The part of stopping for which the pod's lock is held. The pod is `stopping` on disk before the
 * first effect: what fails or crashes on the way leaves no pod that looks ready.
 */
export async function stopLockedPod(
  d: Records & PodTeardown,
  id: string,
  signal: AbortSignal,
  stage: Stage = () => undefined,
  tell: Stage = () => undefined,
): Promise<PodRecord | undefined> {
  const pod = d.pods.get(id);
  if (pod === undefined || pod.state.is === "notReady") return pod;
  const stopping = d.pods.update(id, (p) => ({ ...p, state: podTransition(p.state, { type: "stopping" }) }));
  await teardownPod(d, stopping, signal, stage, tell);
  return d.pods.update(id, (p) => ({
    ...p,
    init: undefined,
    sandbox: undefined,
    state: podTransition(p.state, { type: "stopped" }),
  }));
}

/**
 * Watches what holds a pod: the init of its PID namespace, or the container that is its sandbox. When that dies, so does
 * everything in it: the pod is then stopped, and its kubelet makes another one.
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

async function holderEnded(d: PodStopping, id: string, holder: string): Promise<void> {
  // Stopping a pod ends it; only a death that nobody asked for is news.
  if (d.pods.get(id)?.state.is !== "ready") return;
  d.log.warn({ podSandboxId: id }, `${holder} has ended; stopping the pod`);
  try {
    await stopPod(d, id, AbortSignal.timeout(d.cleanupTimeoutMs));
  } catch (error) {
    d.log.error(
      { podSandboxId: id, err: error },
      "a pod that nothing holds any more cannot be stopped; StopPodSandbox tries again",
    );
  }
}
