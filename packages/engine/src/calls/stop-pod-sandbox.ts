import type { StopPodSandboxRequest, StopPodSandboxResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { stopPod } from "../pod/stop.ts";
import { inStages, podOperation } from "./in-stages.ts";
import { requestId } from "./request-id.ts";

/**
 * CRI: StopPodSandbox. Succeeds when the pod is already stopped or does not exist. A retry joins the call that is under
 * way.
 */
export async function stopPodSandbox(
  d: Deps,
  req: StopPodSandboxRequest,
  signal: AbortSignal,
): Promise<StopPodSandboxResponse> {
  const pod = d.pods.find(requestId("pod_sandbox_id", req.podSandboxId));
  if (pod === undefined) return {};
  const doing = `stop pod sandbox ${pod.id}`;
  await d.takedowns.join(doing, signal, (running, notify) =>
    inStages(
      podOperation(d, "StopPodSandbox", pod.plan, signal),
      doing,
      notify,
      async (progress) => void (await stopPod(d, pod.id, running, progress)),
    ),
  );
  return {};
}
