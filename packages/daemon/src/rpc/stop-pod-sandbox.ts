import type { StopPodSandboxRequest, StopPodSandboxResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { stopPod } from "../pod/stop.ts";
import { requestId } from "./request-id.ts";

/** CRI: StopPodSandbox. Succeeds when the pod is stopped already or gone. */
export async function stopPodSandbox(d: Deps, req: StopPodSandboxRequest, signal: AbortSignal): Promise<StopPodSandboxResponse> {
  const pod = d.pods.find(requestId("pod_sandbox_id", req.podSandboxId));
  if (pod !== undefined) await stopPod(d, pod.id, signal);
  return {};
}
