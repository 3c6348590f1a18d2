import type { RemoveContainerRequest, RemoveContainerResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { stopContainerProcesses } from "../container/stop.ts";
import { removeContainerRecord } from "../container/teardown.ts";
import type { Deps } from "../deps.ts";
import { requestId } from "./request-id.ts";

/** CRI: RemoveContainer. Kills it when it runs; succeeds when it is gone. */
export async function removeContainer(d: Deps, req: RemoveContainerRequest, signal: AbortSignal): Promise<RemoveContainerResponse> {
  const container = d.containers.find(requestId("container_id", req.containerId));
  if (container === undefined) return {};
  await stopContainerProcesses(d, container.id, 0, signal);
  using _ = await d.podLock.acquire(container.podId, signal);
  // Again under the lock, for one that was only being created before.
  await stopContainerProcesses(d, container.id, 0, signal);
  const record = d.containers.get(container.id);
  if (record !== undefined) await removeContainerRecord(d, record, signal);
  d.images.collectGarbage();
  return {};
}
