import type { RemovePodSandboxRequest, RemovePodSandboxResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { stopLockedPod } from "../pod/stop.ts";
import { removeContainersOf, stopContainersOf } from "../pod/teardown.ts";
import { requestId } from "./request-id.ts";

/** CRI: RemovePodSandbox. Takes down what still runs; succeeds when the pod is gone. */
export async function removePodSandbox(d: Deps, req: RemovePodSandboxRequest, signal: AbortSignal): Promise<RemovePodSandboxResponse> {
  const pod = d.pods.find(requestId("pod_sandbox_id", req.podSandboxId));
  if (pod === undefined) return {};
  await stopContainersOf(d, pod.id, signal);
  using _ = await d.podLock.acquire(pod.id, signal);
  await stopContainersOf(d, pod.id, signal);
  await removeContainersOf(d, pod.id, signal);
  await stopLockedPod(d, pod.id, signal);
  d.pods.delete(pod.id);
  d.images.collectGarbage();
  return {};
}
