import type { ListPodSandboxMetricsResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { podsMatching } from "./filters.ts";

/** CRI: ListPodSandboxMetrics. Metrics of each listed pod and of its running containers. */
export async function listPodSandboxMetrics(d: Deps): Promise<ListPodSandboxMetricsResponse> {
  return { podMetrics: await d.stats.podMetrics(podsMatching(d, undefined)) };
}
