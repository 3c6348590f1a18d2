import { Code, StatusError } from "@keelson/base/status.ts";
import type { PortForwardRequest, PortForwardResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { shownPod } from "./pod-sandbox-status.ts";
import { refuseUnreadable } from "./refuse-unreadable.ts";
import { requestId } from "./request-id.ts";

/**
 * CRI: PortForward. The URL is valid for one minute and for one client, which may name other ports than the request.
 */
export async function portForward(d: Deps, req: PortForwardRequest): Promise<PortForwardResponse> {
  const wrong = req.port.find((port) => port < 1 || port > 65535);
  if (wrong !== undefined) throw new StatusError(Code.InvalidArgument, `port ${wrong} must be from 1 to 65535`);
  const pod = shownPod(d, requestId("pod_sandbox_id", req.podSandboxId));
  refuseUnreadable("pod sandbox", pod);
  const { id, state } = pod;
  if (state.is !== "ready")
    throw new StatusError(Code.FailedPrecondition, `pod sandbox ${id} is not ready: nothing runs in it`);
  return { url: await d.streaming.urlFor({ is: "portforward", podId: id, ports: req.port }) };
}
