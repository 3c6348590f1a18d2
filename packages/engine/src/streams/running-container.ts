import { Code, StatusError } from "@keelson/base/status.ts";
import type { Records } from "../capabilities.ts";
import type { ContainerRecord } from "../records/container-record.ts";

/** A container that may have ended since its URL was given out. Throws NotFound or FailedPrecondition. */
export function stillRunning(d: Pick<Records, "containers">, id: string): ContainerRecord {
  const container = d.containers.require(id);
  if (container.state.is !== "running")
    throw new StatusError(Code.FailedPrecondition, `container ${id} is ${container.state.is}, not running`);
  return container;
}
