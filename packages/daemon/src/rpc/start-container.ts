import { Code, messageOf, StatusError, wrapError } from "@keelson/base/status.ts";
import type { StartContainerRequest, StartContainerResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ContainerRecord } from "../container/record.ts";
import { containerTransition } from "../container/state.ts";
import type { Deps } from "../deps.ts";
import { shownContainer } from "./container-status.ts";
import { requestId } from "./request-id.ts";

/** CRI: StartContainer. Only a container that was created and never started. */
export async function startContainer(d: Deps, req: StartContainerRequest, signal: AbortSignal): Promise<StartContainerResponse> {
  const { id, podId } = shownContainer(d, requestId("container_id", req.containerId));
  using _ = await d.podLock.acquire(podId, signal);
  const container = shownContainer(d, id);
  if (container.state.is !== "created") {
    throw new StatusError(Code.FailedPrecondition, `start container ${id}: it is ${container.state.is}; only a created one can be started`);
  }
  await using undo = new AsyncDisposableStack();
  undo.defer(() => endFailedStart(d, container));
  const atNs = d.nowNs();
  try {
    // Not the caller's signal: half a start cannot be taken back.
    await d.runtimes.handlerOf(container.handler).runtime.start(id, AbortSignal.timeout(d.createTimeoutMs));
    d.containers.update(id, (c) => ({ ...c, state: containerTransition(c.state, { type: "started", atNs }, c.createdAtNs) }));
  } catch (error) {
    undo.defer(() => noteFailedStart(d, id, error));
    throw wrapError(`start container ${id}`, error);
  }
  undo.move();
  return {};
}

/** Whatever runs of it must not outlive a failed start; its monitor's end is then noted like any other. */
async function endFailedStart(d: Deps, container: ContainerRecord): Promise<void> {
  await d.containerHost.kill(container.cgroupPath, AbortSignal.timeout(d.cleanupTimeoutMs));
}

function noteFailedStart(d: Deps, id: string, error: unknown): void {
  const message = messageOf(error);
  d.containers.update(id, (c) => ({
    ...c,
    state: containerTransition(c.state, { type: "exited", exitCode: 128, reason: "StartError", message, atNs: d.nowNs() }, c.createdAtNs),
  }));
}
