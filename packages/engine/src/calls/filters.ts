import type { Deps } from "../deps.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import type { PodRecord } from "../records/pod-record.ts";

/** What to select containers by; "" and an empty selector match all. */
export interface ContainerQuery {
  id: string;
  podSandboxId: string;
  labelSelector: Readonly<Record<string, string>>;
}

/** What to select pods by. */
export type PodQuery = Omit<ContainerQuery, "podSandboxId">;

/** The containers that match a filter, except those that are still being created. */
export function containersMatching(
  d: Pick<Deps, "pods" | "containers">,
  filter: ContainerQuery | undefined,
): ContainerRecord[] {
  const { id, podSandboxId, labelSelector } = filter ?? { id: "", podSandboxId: "", labelSelector: {} };
  const shown = d.containers.all().filter((c) => c.state.is !== "creating");
  const isWanted = idMatches(
    id,
    shown.map((c) => c.id),
  );
  const isOfPod = idMatches(
    podSandboxId,
    d.pods.all().map((p) => p.id),
  );
  return shown.filter((c) => isWanted(c.id) && isOfPod(c.podId) && hasLabels(c.config.labels, labelSelector));
}

/** The pods that match a filter, except those that are still being created. */
export function podsMatching(d: Pick<Deps, "pods">, filter: PodQuery | undefined): PodRecord[] {
  const { id, labelSelector } = filter ?? { id: "", labelSelector: {} };
  const shown = d.pods.all().filter((pod) => pod.state.is !== "creating");
  const isWanted = idMatches(
    id,
    shown.map((pod) => pod.id),
  );
  return shown.filter((pod) => isWanted(pod.id) && hasLabels(pod.plan.labels, labelSelector));
}

/** Whether a filter matches everything, as most of a kubelet's do. */
export function matchesAll(filter: (PodQuery & { podSandboxId?: string }) | undefined): boolean {
  return (
    filter === undefined ||
    (filter.id === "" && (filter.podSandboxId ?? "") === "" && Object.keys(filter.labelSelector).length === 0)
  );
}

/** CRI: every pair of the selector must be among the labels. */
function hasLabels(labels: Readonly<Record<string, string>>, selector: Readonly<Record<string, string>>): boolean {
  return Object.entries(selector).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value);
}

/**
 * Matches the ids that a filter's id stands for. Ids may be shortened; a prefix of none or of several matches nothing
 * rather than failing the list.
 */
function idMatches(filterId: string, ids: readonly string[]): (id: string) => boolean {
  if (filterId === "") return () => true;
  const matching = ids.filter((id) => id.startsWith(filterId));
  const wanted = matching.length === 1 ? matching[0] : filterId;
  return (id) => id === wanted;
}
