import type { ContainerRecord } from "./container-record.ts";
import type { PodRecord } from "./pod-record.ts";

/**
 * When a new sandbox or container of a Kubernetes pod counts as created, in ns since 1970: now, but later than every
 * sandbox and container that the pod (by its uid) has already. A kubelet takes the newest sandbox, and the newest
 * container of a name, for the current one; after the clock was set back it would choose a dead one.
 */
export function creationTimeNs(d: CreationRecords, uid: string, nowNs: bigint): bigint {
  const pods = d.pods.all().filter((pod) => pod.plan.metadata.uid === uid);
  const ids = new Set(pods.map((pod) => pod.id));
  const containers = d.containers.all().filter((container) => ids.has(container.podId));
  return [...pods, ...containers].reduce(
    (atNs, { createdAtNs }) => (createdAtNs >= atNs ? createdAtNs + 1n : atNs),
    nowNs,
  );
}

interface CreationRecords {
  readonly pods: { all(): readonly Pick<PodRecord, "id" | "plan" | "createdAtNs">[] };
  readonly containers: { all(): readonly Pick<ContainerRecord, "podId" | "createdAtNs">[] };
}
