import type {
  ListPodSandboxStatsRequest,
  ListPodSandboxStatsResponse,
  PodSandboxStats,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { containersDir } from "../records/paths.ts";
import { podSandboxStatsOf } from "../stats/stats-messages.ts";
import { podsMatching, type PodQuery } from "./filters.ts";

/** CRI: ListPodSandboxStats. */
export async function listPodSandboxStats(
  d: Deps,
  req: ListPodSandboxStatsRequest,
): Promise<ListPodSandboxStatsResponse> {
  return { stats: await allPodSandboxStats(d, req.filter) };
}

/** The stats that a list returns. */
export async function allPodSandboxStats(d: Deps, filter: PodQuery | undefined): Promise<PodSandboxStats[]> {
  const usages = await d.stats.ofPods(podsMatching(d, filter));
  return usages.map((usage) => podSandboxStatsOf(usage, containersDir(d.paths)));
}
