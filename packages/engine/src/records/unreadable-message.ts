import type { ContainerRecord } from "./container-record.ts";
import type { PodRecord } from "./pod-record.ts";

/** CRI: the reason that a status gives, one word in CamelCase. */
export const unreadableReason = "UnreadableRecord";

/** Why a container or pod is shown as unknown, and what to do; undefined for one whose record can be read. */
export function unreadableMessage({
  state,
}: Pick<ContainerRecord, "state"> | Pick<PodRecord, "state">): string | undefined {
  if (state.is !== "unreadable") return undefined;
  return `this build of keelsond cannot read its record (${state.message}), and leaves it as it is: start the build that wrote the record, or remove it; see docs/upgrading.md`;
}
