import { wrapError } from "@keelson/base/status.ts";
import { type PodSandboxConfig, RunPodSandboxRequest, StopPodSandboxRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { safeText } from "./output/safe-text.ts";
import type { Session } from "./session.ts";

/** Runs a pod and returns its id. `cancelTimeoutMs` is -T of `runp`; the call gets twice that, as in crictl. */
export async function runPod(
  session: Session,
  config: PodSandboxConfig,
  runtimeHandler: string,
  cancelTimeoutMs?: number,
): Promise<string> {
  const request = RunPodSandboxRequest.fromPartial({ runtimeHandler });
  request.config = config;
  const options = cancelTimeoutMs === undefined ? {} : { timeoutMs: cancelTimeoutMs * 2 };
  try {
    return (await session.runtime.call("runPodSandbox", request, options)).podSandboxId;
  } catch (error) {
    throw wrapError(`run pod ${config.metadata!.namespace}/${config.metadata!.name}`, error);
  }
}

/** Stops a pod and says so. */
export async function stopPod(session: Session, id: string): Promise<string> {
  try {
    await session.runtime.call("stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId: id }));
  } catch (error) {
    throw wrapError(`stop pod ${id}`, error);
  }
  return `Stopped sandbox ${safeText(id)}\n`;
}
