import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import {
  LinuxContainerResources,
  type UpdateContainerResourcesRequest,
  type UpdateContainerResourcesResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { checkMetadataSize } from "@keelson/plan/field-check.ts";
import { checkMemoryInUse, mergeResources, refuseWindows } from "@keelson/plan/resource-update.ts";
import { planOomScoreAdj, planResources } from "@keelson/plan/resources.ts";
import { tellRaisedScore } from "../container/raised-score.ts";
import { applyResources, putBackResources } from "../container/resources.ts";
import type { Deps } from "../deps.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { shownContainer } from "./container-status.ts";
import { requestId } from "./request-id.ts";

/** A runtime that does not answer in this time hangs. */
const updateTimeoutMs = 30_000;

/**
 * CRI: UpdateContainerResources. Changes what is set and leaves the rest, of a container that is created or runs. A
 * retry does the same again. Annotations are for runtimes that know more resources; those here know none.
 */
export async function updateContainerResources(
  d: Deps,
  req: UpdateContainerResourcesRequest,
  signal: AbortSignal,
): Promise<UpdateContainerResourcesResponse> {
  const { id, podId } = shownContainer(d, requestId("container_id", req.containerId));
  refuseWindows(req.windows);
  checkMetadataSize({}, req.annotations);
  using _ = await d.podLock.acquire(podId, signal);
  const container = updatable(d, id);
  const update = req.linux ?? LinuxContainerResources.fromPartial({});
  const resources = mergeResources(container.resources, update);
  planResources("linux", resources, d.host);
  tellRaisedScore(d.log, id, planOomScoreAdj("linux", resources, d.host));
  checkMemoryInUse("linux", update.memoryLimitInBytes, d.containerHost.memoryInUse(container.cgroupPath));
  await using undo = new AsyncDisposableStack();
  const resizing = d.containers.update(id, (c) => ({ ...c, resizing: resources }));
  undo.defer(() => putBackResources(d, resizing, AbortSignal.timeout(d.cleanupTimeoutMs)));
  try {
    await applyResources(d, container, resources, AbortSignal.any([signal, AbortSignal.timeout(updateTimeoutMs)]));
    d.containers.update(id, (c) => ({ ...c, resources, resizing: undefined }));
  } catch (error) {
    throw wrapError(`update container ${id}`, error);
  }
  undo.move();
  return {};
}

function updatable(d: Deps, id: string): ContainerRecord {
  const container = shownContainer(d, id);
  const { is } = container.state;
  if (is === "created" || is === "running") return container;
  throw new StatusError(
    Code.FailedPrecondition,
    `update container ${id}: it is ${is}; only a created or running one can be updated`,
  );
}
