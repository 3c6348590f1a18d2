import type { RemovePodSandboxRequest, RemovePodSandboxResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { stopLockedPod } from "../pod/stop.ts";
import { removeContainersOf, stopContainersOf } from "../pod/teardown.ts";
import type { Progress } from "../progress.ts";
import { inStages, podOperation } from "./in-stages.ts";
import { requestId } from "./request-id.ts";

/**
 * CRI: RemovePodSandbox. Takes down what still runs; succeeds when there is no such pod. A retry joins the call that is
 * under way.
 */
export async function removePodSandbox(
  d: Deps,
  req: RemovePodSandboxRequest,
  signal: AbortSignal,
): Promise<RemovePodSandboxResponse> {
  const pod = d.pods.find(requestId("pod_sandbox_id", req.podSandboxId));
  if (pod === undefined) return {};
  const doing = `remove pod sandbox ${pod.id}`;
  await d.takedowns.join(doing, signal, (running, notify) =>
    inStages(podOperation(d, "RemovePodSandbox", pod.plan, signal), doing, notify, (progress) =>
      removePod(d, pod.id, running, progress),
    ),
  );
  return {};
}

async function removePod(d: Deps, id: string, signal: AbortSignal, progress: Progress): Promise<void> {
  const { stage } = progress;
  stage("end its containers");
  await stopContainersOf(d, id, signal, progress);
  stage("wait for other calls on the pod");
  using _ = await d.podLock.acquire(id, signal);
  stage("end its containers");
  await stopContainersOf(d, id, signal, progress);
  stage("remove its containers");
  await removeContainersOf(d, id, signal);
  await stopLockedPod(d, id, signal, progress);
  d.pods.delete(id);
  d.images.collectGarbage();
}
