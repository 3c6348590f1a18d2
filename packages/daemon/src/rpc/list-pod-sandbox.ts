import type { ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox, PodSandboxFilter } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { podsMatching } from "./filters.ts";
import { podSandboxOf } from "./pod-messages.ts";

/** CRI: ListPodSandbox. From the snapshot in memory: no lock, no process. */
export async function listPodSandbox(d: Deps, req: ListPodSandboxRequest): Promise<ListPodSandboxResponse> {
  return { items: podSandboxesOf(d, req.filter) };
}

/** The pods that a list shows. */
export function podSandboxesOf(d: Deps, filter: PodSandboxFilter | undefined): PodSandbox[] {
  const state = filter?.state;
  return podsMatching(d, filter)
    .map(podSandboxOf)
    .filter((pod) => state === undefined || pod.state === state.state);
}
