import type { Stage } from "@keelson/base/joined-calls.ts";
import type { RemovePodSandboxRequest, RemovePodSandboxResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { stopLockedPod } from "../pod/stop.ts";
import { removeContainersOf, stopContainersOf } from "../pod/teardown.ts";
import { inStages, podOperation } from "./in-stages.ts";
import { requestId } from "./request-id.ts";

/** CRI: RemovePodSandbox. Takes down what still runs; succeeds when the pod is gone. A retry joins the call that is under way. */
export async function removePodSandbox(
  d: Deps,
  req: RemovePodSandboxRequest,
  signal: AbortSignal,
): Promise<RemovePodSandboxResponse> {
  const pod = d.pods.find(requestId("pod_sandbox_id", req.podSandboxId));
  if (pod === undefined) return {};
  const doing = `remove pod sandbox ${pod.id}`;
  await d.takedowns.join(doing, signal, (running, tell) =>
    inStages(podOperation(d, "RemovePodSandbox", pod.plan, signal), doing, tell, (stage, detail) =>
      removePod(d, pod.id, running, stage, detail),
    ),
  );
  return {};
}

async function removePod(d: Deps, id: string, signal: AbortSignal, stage: Stage, tell: Stage): Promise<void> {
  stage("end its containers");
  await stopContainersOf(d, id, signal, tell);
  stage("wait for other calls on the pod");
  using _ = await d.podLock.acquire(id, signal);
  stage("end its containers");
  await stopContainersOf(d, id, signal, tell);
  stage("remove its containers");
  await removeContainersOf(d, id, signal);
  await stopLockedPod(d, id, signal, stage, tell);
  d.pods.delete(id);
  d.images.collectGarbage();
}
