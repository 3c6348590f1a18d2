import type { ReopenContainerLogRequest, ReopenContainerLogResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { runtimeContainerOf } from "../container/runtime-container.ts";
import type { Deps } from "../deps.ts";
import { runningContainer } from "./container-status.ts";

/** A monitor that has not answered by then hangs. */
const reopenTimeoutMs = 10_000;

/** CRI: ReopenContainerLog. Only for a running container. The new file exists when the call returns. */
export async function reopenContainerLog(
  d: Deps,
  req: ReopenContainerLogRequest,
  signal: AbortSignal,
): Promise<ReopenContainerLogResponse> {
  const container = runningContainer(d, req.containerId);
  if (container.logPath === "") return {};
  const { runtime } = d.runtimes.handlerOf(container.handler);
  await runtime.reopenLog(
    runtimeContainerOf(d, container),
    container.state.monitor,
    AbortSignal.any([signal, AbortSignal.timeout(reopenTimeoutMs)]),
  );
  return {};
}
