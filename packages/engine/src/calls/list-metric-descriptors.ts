import type { ListMetricDescriptorsResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";

/** CRI: ListMetricDescriptors. Describes what ListPodSandboxMetrics reports on this machine. */
export async function listMetricDescriptors(d: Deps): Promise<ListMetricDescriptorsResponse> {
  return { descriptors: d.stats.metricDescriptors() };
}
