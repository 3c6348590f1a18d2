import type { PodSandboxStatsRequest, PodSandboxStatsResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { containersDir } from "../records/paths.ts";
import { podSandboxStatsOf } from "../stats/stats-messages.ts";
import { shownPod } from "./pod-sandbox-status.ts";
import { requestId } from "./request-id.ts";

/** CRI: PodSandboxStats. Includes the stats of its running containers. NotFound when there is no such pod. */
export async function podSandboxStats(d: Deps, req: PodSandboxStatsRequest): Promise<PodSandboxStatsResponse> {
  const pod = shownPod(d, requestId("pod_sandbox_id", req.podSandboxId));
  const [usage] = await d.stats.ofPods([pod]);
  return { stats: podSandboxStatsOf(usage!, containersDir(d.paths)) };
}
