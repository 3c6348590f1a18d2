import type { ContainerStatsRequest, ContainerStatsResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { containersDir } from "../records/paths.ts";
import { containerStatsOf } from "../stats/stats-messages.ts";
import { shownContainer } from "./container-status.ts";
import { requestId } from "./request-id.ts";

/**
 * CRI: ContainerStats. NotFound when there is no such container. One that is not running has stats of its writable
 * layer only.
 */
export async function containerStats(d: Deps, req: ContainerStatsRequest): Promise<ContainerStatsResponse> {
  const container = shownContainer(d, requestId("container_id", req.containerId));
  const [usage] = await d.stats.ofContainers([container]);
  return { stats: containerStatsOf(usage!, containersDir(d.paths)) };
}
