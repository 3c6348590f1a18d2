import type { Stage } from "@keelson/base/joined-calls.ts";
import type { AttachedPod } from "@keelson/networks/attached-pod.ts";
import type { Handlers, Machine, Networks, Records } from "../capabilities.ts";
import { type ContainerStopping, stopContainerProcesses } from "../container/stop.ts";
import { type ContainerRemoving, removeContainerRecord } from "../container/teardown.ts";
import { podDir } from "../records/paths.ts";
import { podFiles } from "../records/pod-files.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { endSandbox } from "./sandbox-container.ts";

/** What taking a pod down takes. */
export type PodTeardown = Handlers & Machine & Networks;

/**
 * Takes down whatever there is of a pod apart from its containers: sandbox, network, init, namespaces,
 * mounts, directory, cgroup. May be repeated, and serves rollback, StopPodSandbox and recovery
 * alike. The record stays.
 */
export async function teardownPod(
  d: PodTeardown,
  pod: PodRecord,
  signal: AbortSignal,
  stage: Stage = () => undefined,
  tell: Stage = () => undefined,
): Promise<void> {
  if (pod.plan.sandbox === "container") {
    stage("end its sandbox");
    await endSandbox(d, pod, signal);
  }
  stage("detach the network");
  if (pod.plan.network === "own") await d.network.detach(networkPodOf(d, pod), signal, tell);
  stage("take down its namespaces, mounts and cgroup");
  await d.podHost.destroy(pod.plan, pod.init, signal);
}

/** What the network is told of a pod. */
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

/** Kills all containers of a pod at once, and tells which are still there. Takes no lock. */
export async function stopContainersOf(
  d: ContainerStopping,
  podId: string,
  signal: AbortSignal,
  tell: Stage = () => undefined,
): Promise<void> {
  const left = new Set(containersOf(d, podId).map((c) => c.id));
  const tellLeft = () => left.size > 0 && tell(`end its containers ${[...left].join(", ")}`);
  tellLeft();
  const stop = async (id: string) => {
    await stopContainerProcesses(d, id, 0, signal);
    left.delete(id);
    tellLeft();
  };
  await Promise.all([...left].map(stop));
}

/** Removes what failed calls left half made. For this the pod's lock is held: nobody is making anything then. */
export async function removeLeftoversOf(d: ContainerRemoving, podId: string, signal: AbortSignal): Promise<void> {
  for (const container of containersOf(d, podId)) {
    if (container.state.is === "creating") await removeContainerRecord(d, container, signal);
  }
}

/** Removes all containers of a pod, which must be stopped. */
export async function removeContainersOf(d: ContainerRemoving, podId: string, signal: AbortSignal): Promise<void> {
  for (const container of containersOf(d, podId)) await removeContainerRecord(d, container, signal);
}
