import type {
  ContainerStats,
  ListContainerStatsRequest,
  ListContainerStatsResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { containersDir } from "../records/paths.ts";
import { containerStatsOf } from "../stats/stats-messages.ts";
import { type ContainerQuery, containersMatching } from "./filters.ts";

/** CRI: ListContainerStats. Containers that are not running have stats of their writable layer only. */
export async function listContainerStats(d: Deps, req: ListContainerStatsRequest): Promise<ListContainerStatsResponse> {
  return { stats: await allContainerStats(d, req.filter) };
}

/** The stats that a list returns. */
export async function allContainerStats(d: Deps, filter: ContainerQuery | undefined): Promise<ContainerStats[]> {
  const usages = await d.stats.ofContainers(containersMatching(d, filter));
  return usages.map((usage) => containerStatsOf(usage, containersDir(d.paths)));
}
