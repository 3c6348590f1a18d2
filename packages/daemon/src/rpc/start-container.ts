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
    if (isNeverStarted(container)) throw new StatusError(Code.FailedPrecondition, `start container ${id}: ${container.state.message}`);
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
    const problem = d.containerHost.commandProblem(id);
    undo.defer(() => noteFailedStart(d, id, problem ?? { exitCode: 128, message: messageOf(error) }));
    if (problem !== undefined) throw new StatusError(Code.FailedPrecondition, `start container ${id}: ${problem.message}`, error);
    throw wrapError(`start container ${id}`, error);
  }
  undo.move();
  d.stats.containerStarted();
  return {};
}

/** One that CreateContainer made of a command that cannot be executed, or whose start failed. */
function isNeverStarted(container: ContainerRecord): container is ContainerRecord & { state: { is: "exited" } } {
  return container.state.is === "exited" && container.state.reason === "StartError";
}

/** Whatever runs of it must not outlive a failed start; its monitor's end is then noted like any other. */
async function endFailedStart(d: Deps, container: ContainerRecord): Promise<void> {
  await d.containerHost.kill(container.cgroupPath, AbortSignal.timeout(d.cleanupTimeoutMs));
}

/** @param problem with exit code 128 where the command is not to blame, as containerd has it */
function noteFailedStart(d: Deps, id: string, problem: { exitCode: number; message: string }): void {
  d.containers.update(id, (c) => ({ ...c, state: containerTransition(c.state, { type: "exited", ...problem, reason: "StartError", atNs: d.nowNs() }, c.createdAtNs) }));
}
