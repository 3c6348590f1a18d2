import type { Deps } from "../deps.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import type { PodRecord } from "../records/pod-record.ts";

/** What containers are looked for by; "" and no labels match all. */
export interface ContainerQuery {
  id: string;
  podSandboxId: string;
  labelSelector: Readonly<Record<string, string>>;
}

/** What pods are looked for by. */
export type PodQuery = Omit<ContainerQuery, "podSandboxId">;

/** The containers that a filter means, of those that can be shown. */
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

/** The pods that a filter means, of those that can be shown. */
export function podsMatching(d: Pick<Deps, "pods">, filter: PodQuery | undefined): PodRecord[] {
  const { id, labelSelector } = filter ?? { id: "", labelSelector: {} };
  const shown = d.pods.all().filter((pod) => pod.state.is !== "creating");
  const isWanted = idMatches(
    id,
    shown.map((pod) => pod.id),
  );
  return shown.filter((pod) => isWanted(pod.id) && hasLabels(pod.plan.labels, labelSelector));
}

/** Whether a filter leaves nothing out, as most of a kubelet's do. */
export function meansAll(filter: (PodQuery & { podSandboxId?: string }) | undefined): boolean {
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
 * The ids that a filter's id stands for. Ids may be shortened; one that is nobody's, or several's,
 * matches nothing rather than failing the list.
 */
function idMatches(filterId: string, ids: readonly string[]): (id: string) => boolean {
  if (filterId === "") return () => true;
  const matching = ids.filter((id) => id.startsWith(filterId));
  const wanted = matching.length === 1 ? matching[0] : filterId;
  return (id) => id === wanted;
}
