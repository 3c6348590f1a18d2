import type { ListPodSandboxRequest, ListPodSandboxResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { hasLabels, idMatches } from "./filters.ts";
import { podSandboxOf } from "./pod-messages.ts";

/** CRI: ListPodSandbox. From the snapshot in memory: no lock, no process. */
export async function listPodSandbox(d: Deps, req: ListPodSandboxRequest): Promise<ListPodSandboxResponse> {
  const { id = "", state, labelSelector = {} } = req.filter ?? {};
  const shown = d.pods.all().filter((pod) => pod.state.is !== "creating");
  const isWanted = idMatches(id, shown.map((pod) => pod.id));
  const items = shown
    .filter((pod) => isWanted(pod.id) && hasLabels(pod.plan.labels, labelSelector))
    .map(podSandboxOf)
    .filter((pod) => state === undefined || pod.state === state.state);
  return { items };
}
