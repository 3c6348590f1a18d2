import { Code, StatusError } from "@keelson/base/status.ts";
import type {
  UpdatePodSandboxResourcesRequest,
  UpdatePodSandboxResourcesResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { checkPodResources } from "@keelson/plan/resource-update.ts";
import type { Deps } from "../deps.ts";
import { shownPod } from "./pod-sandbox-status.ts";
import { refuseUnreadable } from "./refuse-unreadable.ts";
import { requestId } from "./request-id.ts";

/**
 * CRI: UpdatePodSandboxResources. The kubelet sets the limits of the pod's cgroup itself and also makes this call: the
 * values are checked and recorded, and the pod's verbose status shows them.
 */
export async function updatePodSandboxResources(
  d: Deps,
  req: UpdatePodSandboxResourcesRequest,
  signal: AbortSignal,
): Promise<UpdatePodSandboxResourcesResponse> {
  const { id } = shownPod(d, requestId("pod_sandbox_id", req.podSandboxId));
  const { overhead, resources } = req;
  checkPodResources("overhead", overhead, d.host);
  checkPodResources("resources", resources, d.host);
  using _ = await d.podLock.acquire(id, signal);
  const pod = shownPod(d, id);
  refuseUnreadable("pod sandbox", pod);
  if (pod.state.is !== "ready")
    throw new StatusError(Code.FailedPrecondition, `update pod sandbox ${id}: it was stopped; run a new one`);
  d.pods.update(id, (p) => ({ ...p, overhead: overhead ?? p.overhead, resources: resources ?? p.resources }));
  return {};
}
