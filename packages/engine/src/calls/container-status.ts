import { Code, StatusError } from "@keelson/base/status.ts";
import type { ContainerStatusRequest, ContainerStatusResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import { toConfigJson } from "@keelson/cri/json.ts";
import type { Deps } from "../deps.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { bundleDir, containerDir } from "../records/paths.ts";
import { containerStatusOf } from "./container-messages.ts";
import { refuseUnreadable } from "./refuse-unreadable.ts";
import { requestId } from "./request-id.ts";

/** CRI: ContainerStatus. NotFound when there is no such container. */
export async function containerStatus(d: Deps, req: ContainerStatusRequest): Promise<ContainerStatusResponse> {
  const container = shownContainer(d, requestId("container_id", req.containerId));
  const info: Record<string, string> = req.verbose ? { info: JSON.stringify(verboseInfo(d, container)) } : {};
  return { status: containerStatusOf(container), info };
}

/** The container with this id or prefix. Throws NotFound, also for one that is still being created. */
export function shownContainer(d: Deps, id: string): ContainerRecord {
  const container = d.containers.require(id);
  if (container.state.is === "creating")
    throw new StatusError(Code.NotFound, `container ${id}: it is still being created`);
  return container;
}

/** The container of an ExecSync, Exec or ReopenContainerLog request. Throws FailedPrecondition unless it is running. */
export function runningContainer(d: Deps, id: string): ContainerRecord & { state: { is: "running" } } {
  const container = shownContainer(d, requestId("container_id", id));
  refuseUnreadable("container", container);
  const { state } = container;
  if (state.is !== "running")
    throw new StatusError(Code.FailedPrecondition, `container ${id} is ${state.is}, not running`);
  return { ...container, state };
}

/**
 * Scripts find here the names that `crictl inspect` shows for other runtimes: `sandboxID`, `pid` (0 when no process
 * runs), `snapshotKey`, `snapshotter`, `config` and `runtimeSpec` (null once the bundle is gone).
 */
function verboseInfo(d: Deps, c: ContainerRecord): object {
  const { state } = c;
  const pid = state.is === "created" || state.is === "running" ? (state.main?.pid ?? 0) : 0;
  return {
    sandboxID: c.podId,
    pid,
    privileged: c.config.linux?.securityContext?.privileged ?? false,
    handler: c.handler,
    cgroup: c.cgroupPath,
    bundle: bundleDir(d.paths, c.id),
    imageId: c.imageId,
    snapshotKey: c.id,
    snapshotter: "overlayfs",
    writableDir: containerDir(d.paths, c.id),
    config: toConfigJson("ContainerConfig", c.config),
    runtimeSpec: d.containerHost.readSpec(c.id) ?? null,
  };
}
