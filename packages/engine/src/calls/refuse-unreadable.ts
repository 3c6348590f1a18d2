import { Code, StatusError } from "@keelson/base/status.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { unreadableMessage } from "../records/unreadable-message.ts";

/**
 * Throws FailedPrecondition for a container or pod whose record cannot be read: it can be shown, stopped and removed,
 * but nothing else.
 */
export function refuseUnreadable(
  kind: "container" | "pod sandbox",
  record: Pick<ContainerRecord, "id" | "state"> | Pick<PodRecord, "id" | "state">,
): void {
  const message = unreadableMessage(record);
  if (message !== undefined) throw new StatusError(Code.FailedPrecondition, `${kind} ${record.id}: ${message}`);
}
