import type {
  Container,
  ContainerFilter,
  ListContainersRequest,
  ListContainersResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { containerOf } from "./container-messages.ts";
import { containersMatching, matchesAll } from "./filters.ts";

/** CRI: ListContainers. Answers from the snapshot in memory: takes no lock, starts no process. */
export async function listContainers(d: Deps, req: ListContainersRequest): Promise<ListContainersResponse> {
  return { containers: containersOf(d, req.filter) };
}

/** The full list for each snapshot. */
const lists = new WeakMap<readonly ContainerRecord[], Container[]>();

/**
 * The containers that a list returns. The full list is the same array until a container changes; callers must not
 * modify it.
 */
export function containersOf(d: Deps, filter: ContainerFilter | undefined): Container[] {
  const state = filter?.state;
  if (state !== undefined) return matching(d, filter).filter((c) => c.state === state.state);
  if (!matchesAll(filter)) return matching(d, filter);
  const snapshot = d.containers.all();
  let list = lists.get(snapshot);
  if (list === undefined) lists.set(snapshot, (list = matching(d, undefined)));
  return list;
}

function matching(d: Deps, filter: ContainerFilter | undefined): Container[] {
  return containersMatching(d, filter).map(containerOf);
}
