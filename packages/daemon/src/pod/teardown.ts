import { stopContainerProcesses } from "../container/stop.ts";
import { removeContainerRecord } from "../container/teardown.ts";
import type { Deps } from "../deps.ts";
import { podFiles } from "./pod-host.ts";
import { podDir } from "../paths.ts";
import type { PodRecord } from "./record.ts";
import type { AttachedPod } from "../network/pod-networks.ts";

/**
 * Takes down whatever there is of a pod apart from its containers: network, init, namespaces,
 * mounts, directory, cgroup. May be repeated, and serves rollback, StopPodSandbox and recovery
 * alike. The record stays.
 */
export async function teardownPod(d: Deps, pod: PodRecord, signal: AbortSignal): Promise<void> {
  if (pod.plan.network === "own") await d.network.detach(networkPodOf(d, pod), signal);
  await d.podHost.destroy(pod.plan, pod.init, signal);
}

/** What the network is told of a pod. */
export function networkPodOf(d: Deps, { plan, config }: PodRecord): AttachedPod {
  return {
    id: plan.id,
    name: plan.metadata.name,
    namespace: plan.metadata.namespace,
    uid: plan.metadata.uid,
    netnsPath: podFiles(podDir(d.paths, plan.id)).netns,
    portMappings: plan.portMappings,
    annotations: plan.annotations,
    cgroupPath: plan.cgroup.path,
    ...(config.dnsConfig === undefined ? {} : { dns: config.dnsConfig }),
  };
}

/** The pod's containers, whatever their state. */
export function containersOf(d: Deps, podId: string) {
  return d.containers.all().filter((c) => c.podId === podId);
}

/** Kills all containers of a pod at once. Takes no lock. */
export async function stopContainersOf(d: Deps, podId: string, signal: AbortSignal): Promise<void> {
  await Promise.all(containersOf(d, podId).map((c) => stopContainerProcesses(d, c.id, 0, signal)));
}

/** Removes what failed calls left half made. For this the pod's lock is held: nobody is making anything then. */
export async function removeLeftoversOf(d: Deps, podId: string, signal: AbortSignal): Promise<void> {
  for (const container of containersOf(d, podId)) {
    if (container.state.is === "creating") await removeContainerRecord(d, container, signal);
  }
}

/** Removes all containers of a pod, which must be stopped. */
export async function removeContainersOf(d: Deps, podId: string, signal: AbortSignal): Promise<void> {
  for (const container of containersOf(d, podId)) await removeContainerRecord(d, container, signal);
}
