import type { ListContainersRequest, ListContainersResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { containerOf } from "./container-messages.ts";
import { hasLabels, idMatches } from "./filters.ts";

/** CRI: ListContainers. From the snapshot in memory: no lock, no process. */
export async function listContainers(d: Deps, req: ListContainersRequest): Promise<ListContainersResponse> {
  const { id = "", podSandboxId = "", state, labelSelector = {} } = req.filter ?? {};
  const shown = d.containers.all().filter((c) => c.state.is !== "creating");
  const isWanted = idMatches(id, shown.map((c) => c.id));
  const isOfPod = idMatches(podSandboxId, d.pods.all().map((p) => p.id));
  const containers = shown
    .filter((c) => isWanted(c.id) && isOfPod(c.podId) && hasLabels(c.config.labels, labelSelector))
    .map(containerOf)
    .filter((c) => state === undefined || c.state === state.state);
  return { containers };
}
