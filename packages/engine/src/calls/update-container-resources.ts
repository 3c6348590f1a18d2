import { Code, StatusError, wrapError } from "@keelson/base/status.ts";
import {
  LinuxContainerResources,
  type UpdateContainerResourcesRequest,
  type UpdateContainerResourcesResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { checkMetadataSize } from "@keelson/plan/field-check.ts";
import { checkMemoryInUse, mergeResources, refuseWindows } from "@keelson/plan/resource-update.ts";
import { planOomScoreAdj, planResources } from "@keelson/plan/resources.ts";
import { warnRaisedScore } from "../container/raised-score.ts";
import { applyResources, putBackResources } from "../container/resources.ts";
import type { Deps } from "../deps.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { shownContainer } from "./container-status.ts";
import { refuseUnreadable } from "./refuse-unreadable.ts";
import { requestId } from "./request-id.ts";

/** A runtime that has not answered by then hangs. */
const updateTimeoutMs = 30_000;

/**
 * CRI: UpdateContainerResources. Changes the fields that are set and keeps the others, for a container that is created
 * or running. A retry does the same again. Annotations are for runtimes that know other resources; ours know none.
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
  warnRaisedScore(d.log, id, planOomScoreAdj("linux", resources, d.host));
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
  refuseUnreadable("container", container);
  const { is } = container.state;
  if (is === "created" || is === "running") return container;
  throw new StatusError(
    Code.FailedPrecondition,
    `update container ${id}: it is ${is}; only a created or running one can be updated`,
  );
}
