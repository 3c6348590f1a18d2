import type {
  ListPodSandboxRequest,
  ListPodSandboxResponse,
  PodSandbox,
  PodSandboxFilter,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { meansAll, podsMatching } from "./filters.ts";
import { podSandboxOf } from "./pod-messages.ts";

/** CRI: ListPodSandbox. From the snapshot in memory: no lock, no process. */
export async function listPodSandbox(d: Deps, req: ListPodSandboxRequest): Promise<ListPodSandboxResponse> {
  return { items: podSandboxesOf(d, req.filter) };
}

/** The list of all, by the snapshot that it was made of. */
const lists = new WeakMap<readonly PodRecord[], PodSandbox[]>();

/** The pods that a list shows. That of all is the same array until one of them changes, and never to be changed itself. */
export function podSandboxesOf(d: Deps, filter: PodSandboxFilter | undefined): PodSandbox[] {
  const state = filter?.state;
  if (state !== undefined) return matching(d, filter).filter((pod) => pod.state === state.state);
  if (!meansAll(filter)) return matching(d, filter);
  const snapshot = d.pods.all();
  let list = lists.get(snapshot);
  if (list === undefined) lists.set(snapshot, (list = matching(d, undefined)));
  return list;
}

function matching(d: Deps, filter: PodSandboxFilter | undefined): PodSandbox[] {
  return podsMatching(d, filter).map(podSandboxOf);
}
