import type { Stage } from "@keelson/base/joined-calls.ts";
import type { RemoveContainerRequest, RemoveContainerResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { stopContainerProcesses } from "../container/stop.ts";
import { removeContainerRecord } from "../container/teardown.ts";
import type { Deps } from "../deps.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { containerOperation, inStages } from "./in-stages.ts";
import { requestId } from "./request-id.ts";

/**
 * CRI: RemoveContainer. Kills a running container; succeeds when there is none. A retry joins the call that is under
 * way.
 */
export async function removeContainer(
  d: Deps,
  req: RemoveContainerRequest,
  signal: AbortSignal,
): Promise<RemoveContainerResponse> {
  const container = d.containers.find(requestId("container_id", req.containerId));
  if (container === undefined) return {};
  const doing = `remove container ${container.id}`;
  await d.takedowns.join(doing, signal, (running, notify) =>
    inStages(containerOperation(d, "RemoveContainer", container, signal), doing, notify, ({ stage }) =>
      remove(d, container, running, stage),
    ),
  );
  return {};
}

async function remove(d: Deps, { id, podId }: ContainerRecord, signal: AbortSignal, stage: Stage): Promise<void> {
  stage("end it");
  await stopContainerProcesses(d, id, 0, signal);
  stage("wait for other calls on its pod");
  using _ = await d.podLock.acquire(podId, signal);
  // Again under the lock: the container may have been in creation before.
  stage("end it");
  await stopContainerProcesses(d, id, 0, signal);
  const record = d.containers.get(id);
  stage("take down its mounts, files and cgroup");
  if (record !== undefined) await removeContainerRecord(d, record, signal);
  d.images.collectGarbage();
}
