import { Code, StatusError } from "@keelson/base/status.ts";
import type { StopContainerRequest, StopContainerResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { stopContainerProcesses } from "../container/stop.ts";
import type { Deps } from "../deps.ts";
import { containerOperation, inStages } from "./in-stages.ts";
import { requestId } from "./request-id.ts";

/**
 * CRI: StopContainer. Succeeds when the container has ended already or is gone; 0 seconds kill at
 * once. A retry joins the call that is under way: there is no second signal.
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
  // One with less patience is another call, which overtakes.
  await d.stops.join(`stop container ${container.id} in ${req.timeout} s`, signal, (running, tell) =>
    inStages(
      containerOperation(d, "StopContainer", container, signal),
      `stop container ${container.id}`,
      tell,
      (stage, detail) => stopContainerProcesses(d, container.id, Number(req.timeout) * 1000, running, stage, detail),
    ),
  );
  return {};
}
