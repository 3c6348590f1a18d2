import type { Stage } from "@keelson/base/joined-calls.ts";
import { Code, messageOf, StatusError, wrapError } from "@keelson/base/status.ts";
import type { StartContainerRequest, StartContainerResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { RuntimeView } from "@keelson/runtimes/runtime.ts";
import { killContainer, runtimeOf } from "../container/runtime-container.ts";
import type { Deps } from "../deps.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { containerTransition } from "../records/container-state.ts";
import { shownContainer } from "./container-status.ts";
import { containerOperation, traced } from "./in-stages.ts";
import { refuseUnreadable } from "./refuse-unreadable.ts";
import { requestId } from "./request-id.ts";

/** How long finding out about a failure may take, in ms. */
const lookTimeoutMs = 5000;

/** CRI: StartContainer. Only for a container that was created and never started. */
export async function startContainer(
  d: Deps,
  req: StartContainerRequest,
  caller: AbortSignal,
): Promise<StartContainerResponse> {
  const shown = shownContainer(d, requestId("container_id", req.containerId));
  const operation = containerOperation(d, "StartContainer", shown, caller);
  return await traced(operation, () => start(d, shown, caller, (name) => operation.stage(name)));
}

async function start(
  d: Deps,
  { id, podId, handler }: ContainerRecord,
  caller: AbortSignal,
  stage: Stage,
): Promise<StartContainerResponse> {
  stage("wait for other calls on the pod");
  using _ = await d.podLock.acquire(podId, caller);
  stage(`start the container with ${handler}`);
  const container = shownContainer(d, id);
  refuseUnreadable("container", container);
  if (container.state.is !== "created") {
    if (isNeverStarted(container))
      throw new StatusError(Code.FailedPrecondition, `start container ${id}: ${container.state.message}`);
    throw new StatusError(
      Code.FailedPrecondition,
      `start container ${id}: it is ${container.state.is}; only a created one can be started`,
    );
  }
  await using undo = new AsyncDisposableStack();
  undo.defer(() => endFailedStart(d, container));
  const atNs = d.nowNs();
  // Not the caller's signal: half a start cannot be taken back.
  const signal = AbortSignal.timeout(d.createTimeoutMs);
  const { runtime, container: known } = runtimeOf(d, container);
  try {
    await runtime.start(known, container.state, signal);
    d.containers.update(id, (c) => ({
      ...c,
      state: containerTransition(c.state, { type: "started", atNs }, c.createdAtNs),
    }));
  } catch (error) {
    const problem = await d.containerHost.commandProblem(id);
    // A runtime that was cut off may have got further than its error says.
    const view = await viewOf(d, container);
    if (problem === undefined && !signal.aborted && view === "created") {
      undo.move();
      throw wrapError(`start container ${id}`, error);
    }
    const killed = view === "stopped" || view === undefined ? await killedMeanwhile(d, id) : undefined;
    if (killed !== undefined)
      throw new StatusError(
        Code.FailedPrecondition,
        `start container ${id}: it was stopped or killed in the meantime (exit code ${killed.exitCode})`,
        error,
      );
    undo.defer(() => recordFailedStart(d, id, problem ?? { exitCode: 128, message: messageOf(error) }));
    if (problem !== undefined)
      throw new StatusError(Code.FailedPrecondition, `start container ${id}: ${problem.message}`, error);
    throw wrapError(`start container ${id}`, error);
  }
  undo.move();
  d.stats.containerStarted();
  return {};
}

/** Whether its command could not be executed when it was created, or its start failed. */
function isNeverStarted(container: ContainerRecord): container is ContainerRecord & { state: { is: "exited" } } {
  return container.state.is === "exited" && container.state.reason === "StartError";
}

/**
 * What the runtime says of a container whose start failed: if it failed before it did anything, the same call may work
 * next time.
 */
async function viewOf(d: Deps, record: ContainerRecord): Promise<RuntimeView | "not known"> {
  try {
    const { runtime, container } = runtimeOf(d, record);
    return await runtime.view(container, AbortSignal.timeout(lookTimeoutMs));
  } catch {
    return "not known";
  }
}

/**
 * How a signal ended the container before it was started, which can happen because StopContainer takes no lock.
 * Undefined when none did.
 */
async function killedMeanwhile(d: Deps, id: string): Promise<{ exitCode: number } | undefined> {
  const ended = await d.containers
    .until(id, (c) => c.state.is === "exited", AbortSignal.timeout(lookTimeoutMs))
    .catch(() => undefined);
  const isKill = ended?.state.is === "exited" && ended.state.exitCode > 128 && ended.state.reason !== "OOMKilled";
  return isKill ? ended.state : undefined;
}

/** Nothing of the container may outlive a failed start; its monitor's end is then recorded like any other. */
async function endFailedStart(d: Deps, container: ContainerRecord): Promise<void> {
  await killContainer(d, container, AbortSignal.timeout(d.cleanupTimeoutMs));
}

/** @param problem its exit code is 128 when the command is not to blame, as in containerd. */
function recordFailedStart(d: Deps, id: string, problem: { exitCode: number; message: string }): void {
  d.containers.update(id, (c) => ({
    ...c,
    state: containerTransition(
      c.state,
      { type: "exited", ...problem, reason: "StartError", atNs: d.nowNs() },
      c.createdAtNs,
    ),
  }));
}
