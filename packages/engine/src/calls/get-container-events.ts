import type { ContainerEventResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import type { PodEvent } from "../records/events.ts";
import { containerStatusOf } from "./container-messages.ts";
import { podSandboxStatusOf } from "./pod-messages.ts";

/** CRI: GetContainerEvents. Begins with what exists and goes on until the client disconnects. */
export async function getContainerEvents(
  d: Deps,
  write: (event: ContainerEventResponse) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  for await (const event of d.events.follow(signal)) await write(eventOf(event));
}

function eventOf({ type, id, atNs, pod, containers }: PodEvent): ContainerEventResponse {
  return {
    containerId: id,
    containerEventType: type,
    createdAt: atNs,
    podSandboxStatus: pod === undefined ? undefined : podSandboxStatusOf(pod),
    containersStatuses: containers.map(containerStatusOf),
  };
}
