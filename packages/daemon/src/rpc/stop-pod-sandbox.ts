import type { StopPodSandboxRequest, StopPodSandboxResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import type { PodRecord } from "../pod/record.ts";
import { podTransition } from "../pod/state.ts";
import { requestId } from "./request-id.ts";
import { removeLeftoversOf, stopContainersOf, teardownPod } from "../pod/teardown.ts";

/** CRI: StopPodSandbox. Succeeds when the pod is stopped already or gone. */
export async function stopPodSandbox(d: Deps, req: StopPodSandboxRequest, signal: AbortSignal): Promise<StopPodSandboxResponse> {
  const pod = d.pods.find(requestId("pod_sandbox_id", req.podSandboxId));
  if (pod !== undefined) await stopPod(d, pod.id, signal);
  return {};
}

/** Stops a pod with its containers; returns its record as it is then, undefined when it is gone. */
export async function stopPod(d: Deps, id: string, signal: AbortSignal): Promise<PodRecord | undefined> {
  // Before the lock, which is not held while containers end; again under it for one that came meanwhile.
  await stopContainersOf(d, id, signal);
  using _ = await d.podLock.acquire(id, signal);
  await removeLeftoversOf(d, id, signal);
  await stopContainersOf(d, id, signal);
  return await stopLockedPod(d, id, signal);
}

/** The part of stopping for which the pod's lock is held. */
export async function stopLockedPod(d: Deps, id: string, signal: AbortSignal): Promise<PodRecord | undefined> {
  const pod = d.pods.get(id);
  if (pod === undefined || pod.state.is === "notReady") return pod;
  await teardownPod(d, pod, signal);
  return d.pods.update(id, (p) => ({ ...p, init: undefined, state: podTransition(p.state, { type: "stopped" }) }));
}
