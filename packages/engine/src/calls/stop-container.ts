import { Code, StatusError } from "@keelson/base/status.ts";
import type { StopContainerRequest, StopContainerResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { stopContainerProcesses } from "../container/stop.ts";
import type { Deps } from "../deps.ts";
import { containerOperation, inStages } from "./in-stages.ts";
import { requestId } from "./request-id.ts";

/**
 * CRI: StopContainer. Succeeds when the container has already exited or does not exist; a timeout of 0 kills at once. A
 * retry joins the call that is under way and sends no second signal.
 */
export async function stopContainer(
  d: Deps,
  req: StopContainerRequest,
  signal: AbortSignal,
): Promise<StopContainerResponse> {
  if (req.timeout < 0n)
    throw new StatusError(Code.InvalidArgument, `timeout must be 0 or more seconds, not ${req.timeout}`);
  const container = d.containers.find(requestId("container_id", req.containerId));
  if (container === undefined) return {};
  // A stop with a shorter timeout is a different call, which overtakes this one.
  await d.stops.join(`stop container ${container.id} in ${req.timeout} s`, signal, (running, notify) =>
    inStages(
      containerOperation(d, "StopContainer", container, signal),
      `stop container ${container.id}`,
      notify,
      (progress) => stopContainerProcesses(d, container.id, Number(req.timeout) * 1000, running, progress),
    ),
  );
  return {};
}
