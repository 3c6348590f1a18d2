import { Code, StatusError } from "@keelson/base/status.ts";
import type { StopContainerRequest, StopContainerResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { stopContainerProcesses } from "../container/stop.ts";
import type { Deps } from "../deps.ts";
import { requestId } from "./request-id.ts";

/** CRI: StopContainer. Succeeds when the container has ended already or is gone; 0 seconds kill at once. */
export async function stopContainer(d: Deps, req: StopContainerRequest, signal: AbortSignal): Promise<StopContainerResponse> {
  if (req.timeout < 0n) throw new StatusError(Code.InvalidArgument, `timeout must be 0 or more seconds, not ${req.timeout}`);
  const container = d.containers.find(requestId("container_id", req.containerId));
  if (container !== undefined) await stopContainerProcesses(d, container.id, Number(req.timeout) * 1000, signal);
  return {};
}
