import type {
  ListPodSandboxRequest,
  ListPodSandboxResponse,
  PodSandbox,
  PodSandboxFilter,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { matchesAll, podsMatching } from "./filters.ts";
import { podSandboxOf } from "./pod-messages.ts";

/** CRI: ListPodSandbox. Answers from the snapshot in memory: takes no lock, starts no process. */
export async function listPodSandbox(d: Deps, req: ListPodSandboxRequest): Promise<ListPodSandboxResponse> {
  return { items: podSandboxesOf(d, req.filter) };
}

/** The full list for each snapshot. */
const lists = new WeakMap<readonly PodRecord[], PodSandbox[]>();

/** The pods that a list returns. The full list is the same array until a pod changes; callers must not modify it. */
export function podSandboxesOf(d: Deps, filter: PodSandboxFilter | undefined): PodSandbox[] {
  const state = filter?.state;
  if (state !== undefined) return matching(d, filter).filter((pod) => pod.state === state.state);
  if (!matchesAll(filter)) return matching(d, filter);
  const snapshot = d.pods.all();
  let list = lists.get(snapshot);
  if (list === undefined) lists.set(snapshot, (list = matching(d, undefined)));
  return list;
}

function matching(d: Deps, filter: PodSandboxFilter | undefined): PodSandbox[] {
  return podsMatching(d, filter).map(podSandboxOf);
}
