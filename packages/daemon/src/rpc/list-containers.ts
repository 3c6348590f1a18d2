import type { Container, ContainerFilter, ListContainersRequest, ListContainersResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { containerOf } from "./container-messages.ts";
import { containersMatching } from "./filters.ts";

/** CRI: ListContainers. From the snapshot in memory: no lock, no process. */
export async function listContainers(d: Deps, req: ListContainersRequest): Promise<ListContainersResponse> {
  return { containers: containersOf(d, req.filter) };
}

/** The containers that a list shows. */
export function containersOf(d: Deps, filter: ContainerFilter | undefined): Container[] {
  const state = filter?.state;
  return containersMatching(d, filter)
    .map(containerOf)
    .filter((c) => state === undefined || c.state === state.state);
}
