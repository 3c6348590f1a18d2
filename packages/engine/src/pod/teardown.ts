import type { AttachedPod } from "@keelson/networks/attached-pod.ts";
import type { Handlers, Machine, Networks, Records } from "../capabilities.ts";
import { type ContainerStopping, stopContainerProcesses } from "../container/stop.ts";
import { type ContainerRemoving, removeContainerRecord } from "../container/teardown.ts";
import { type Progress, unfollowed } from "../progress.ts";
import { podDir } from "../records/paths.ts";
import { podFiles } from "../records/pod-files.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { endSandbox, endUnknownSandbox } from "./sandbox-container.ts";

/** What taking a pod down needs. */
export type PodTeardown = Handlers & Machine & Networks;

/**
 * Takes down whatever exists of a pod apart from its containers: sandbox, network, init, namespaces, mounts, directory,
 * cgroup. May be repeated; serves rollback, StopPodSandbox and recovery. Keeps the record.
 */
export async function teardownPod(
  d: PodTeardown,
  pod: PodRecord,
  signal: AbortSignal,
  { stage, detail }: Progress = unfollowed,
): Promise<void> {
  // If the record cannot be read, what it does not say is found by the pod's directory.
  const isKnown = pod.state.is !== "unreadable" || (pod.state.hasPlan && pod.handler !== "");
  if (pod.plan.sandbox === "container" || !isKnown) {
    stage("end its sandbox");
    await (isKnown ? endSandbox(d, pod, signal) : endUnknownSandbox(d, pod.id, signal));
  }
  stage("detach the network");
  if (pod.plan.network === "own") await d.network.detach(networkPodOf(d, pod), signal, detail);
  stage("take down its namespaces, mounts and cgroup");
  await (isKnown ? d.podHost.destroy(pod.plan, pod.init, signal) : d.podHost.destroyUnknown(pod.id));
}

/** What the network needs to know about a pod. */
export function networkPodOf(d: Handlers, { plan, config, handler }: PodRecord): AttachedPod {
  return {
    id: plan.id,
    name: plan.metadata.name,
    namespace: plan.metadata.namespace,
    uid: plan.metadata.uid,
    netnsPath: podFiles(podDir(d.paths, plan.id)).netns,
    portMappings: plan.portMappings,
    annotations: plan.annotations,
    cgroupPath: plan.cgroup.path,
    isSandboxed: plan.sandbox === "container",
    confDir: d.runtimes.all().find(({ name }) => name === handler)?.settings.cniConfDir,
    ...(config.dnsConfig === undefined ? {} : { dns: config.dnsConfig }),
  };
}

/** The pod's containers, whatever their state. */
export function containersOf(d: Pick<Records, "containers">, podId: string) {
  return d.containers.all().filter((c) => c.podId === podId);
}

/** Kills all containers of a pod at once and reports those that are left. Takes no lock. */
export async function stopContainersOf(
  d: ContainerStopping,
  podId: string,
  signal: AbortSignal,
  { detail }: Pick<Progress, "detail"> = unfollowed,
): Promise<void> {
  const left = new Set(containersOf(d, podId).map((c) => c.id));
  const reportLeft = () => left.size > 0 && detail(`end its containers ${[...left].join(", ")}`);
  reportLeft();
  const stop = async (id: string) => {
    await stopContainerProcesses(d, id, 0, signal);
    left.delete(id);
    reportLeft();
  };
  await Promise.all([...left].map(stop));
}

/** Removes what failed calls left half created. The caller holds the pod lock, so nothing is being created. */
export async function removeLeftoversOf(d: ContainerRemoving, podId: string, signal: AbortSignal): Promise<void> {
  for (const container of containersOf(d, podId)) {
    if (container.state.is === "creating") await removeContainerRecord(d, container, signal);
  }
}

/** Removes all containers of a pod, which must be stopped. */
export async function removeContainersOf(d: ContainerRemoving, podId: string, signal: AbortSignal): Promise<void> {
  for (const container of containersOf(d, podId)) await removeContainerRecord(d, container, signal);
}
