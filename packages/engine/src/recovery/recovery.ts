import type { Clock, Images, Networks, StrayRows } from "../capabilities.ts";
import { exitEvent } from "../container/exit-watch.ts";
import { putBackResources } from "../container/resources.ts";
import { runtimeOf } from "../container/runtime-container.ts";
import { releaseContainer, removeContainerRecord } from "../container/teardown.ts";
import { hasSandboxEnded } from "../pod/sandbox-container.ts";
import { type PodStopping, watchPod } from "../pod/stop.ts";
import { stopContainersOf, teardownPod } from "../pod/teardown.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { type ContainerEvent, containerTransition } from "../records/container-state.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { podTransition } from "../records/pod-state.ts";
import { attempt } from "./attempt.ts";
import { collectNetworkGarbage, removeUnknownContainers, removeUnknownPods, unreadableIn } from "./unknown.ts";

type Recovering = PodStopping & Networks & Images & Clock & StrayRows;

/**
 * Makes the records agree with the machine, before the first call is answered: what was being made is undone, what has
 * ended is recorded with its real code and time, what runs is watched again, what has no record is removed. A record
 * that cannot be put right is logged and left as it is. So is everything that a record stands for which cannot be read.
 */
export async function recover(d: Recovering): Promise<void> {
  using _ = keepRunning();
  for (const container of d.containers.all())
    await attempt(d, "container", container.id, () => recoverContainer(d, container));
  for (const pod of d.pods.all()) await attempt(d, "pod sandbox", pod.id, () => recoverPod(d, pod));
  await attempt(d, "state directory", d.paths.state, () => removeUnknownContainers(d));
  await attempt(d, "network", "cni", () => collectNetworkGarbage(d));
  await attempt(d, "state directory", d.paths.state, () => removeUnknownPods(d));
  await attempt(d, "image store", d.paths.root, async () => d.images.collectGarbage());
}

/** Node ends a program that waits only for watched processes and timeouts, which do not count; the server, which does, is not open yet. */
function keepRunning(): Disposable {
  const timer = setInterval(() => {}, 2 ** 30);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

async function recoverContainer(d: Recovering, container: ContainerRecord): Promise<void> {
  const { id, state } = container;
  switch (state.is) {
    case "creating":
      return removeContainerRecord(d, container, cleanup(d));
    case "created":
    case "running":
      try {
        return await followContainer(d, container);
      } catch (error) {
        // What cannot be found out now is recorded when it ends.
        d.exits.watch(container);
        throw error;
      }
    case "exited":
      // The daemon may have ended right after it recorded this.
      return releaseContainer(d, id);
    case "unknown":
      return;
    case "unreadable":
      return d.exits.watch(container);
  }
}

/** Records what a container is now, and watches it if it runs. */
async function followContainer(d: Recovering, container: ContainerRecord): Promise<void> {
  const { id } = container;
  const { runtime, container: known } = runtimeOf(d, container);
  if (container.bootId === d.bootId) runtime.endExecs(known);
  const event = await whatBecameOf(d, container);
  const now =
    event === undefined
      ? container
      : d.containers.update(id, (c) => ({ ...c, state: containerTransition(c.state, event, c.createdAtNs) }));
  d.exits.watch(now);
  if (now.state.is === "exited") await releaseContainer(d, id);
  else {
    d.containerHost.thaw(container.cgroupPath);
    await putBackResources(d, now, cleanup(d));
  }
}

/** What happened to a container while the daemon was down; undefined if nothing did. */
async function whatBecameOf(d: Recovering, container: ContainerRecord): Promise<ContainerEvent | undefined> {
  const { state } = container;
  if (state.is !== "created" && state.is !== "running") return undefined;
  if (container.bootId !== d.bootId) {
    const message = "the machine was restarted while the container ran";
    return { type: "exited", exitCode: 255, reason: "NodeRebooted", message, atNs: d.nowNs() };
  }
  const { runtime, container: known } = runtimeOf(d, container);
  if (await runtime.hasEnded(known, state, cleanup(d))) return exitEvent(d, container);
  if (state.is === "created" && (await wasStarted(d, container))) return { type: "started", atNs: d.nowNs() };
  return undefined;
}

/** Whether the daemon died between the runtime's start and writing that down. */
async function wasStarted(d: Recovering, container: ContainerRecord): Promise<boolean> {
  const { runtime, container: known } = runtimeOf(d, container);
  return (await runtime.view(known, cleanup(d))) === "running";
}

async function recoverPod(d: Recovering, pod: PodRecord): Promise<void> {
  if (pod.state.is === "notReady" || pod.state.is === "unreadable") return;
  const isOfThisBoot = pod.bootId === d.bootId;
  if (pod.state.is === "ready" && isOfThisBoot && (await isIntact(d, pod))) {
    watchPod(d, pod);
    return;
  }
  const unreadable = isOfThisBoot ? unreadableIn(d, pod.id) : undefined;
  if (unreadable !== undefined) return leavePod(d, pod, unreadable);
  // After a boot the pids on record are other processes'.
  const known = isOfThisBoot ? pod : { ...pod, init: undefined, sandbox: undefined };
  await stopContainersOf(d, pod.id, cleanup(d));
  await teardownPod(d, known, cleanup(d));
  if (pod.state.is === "creating") d.pods.delete(pod.id);
  else
    d.pods.update(pod.id, (p) => ({
      ...p,
      init: undefined,
      sandbox: undefined,
      state: podTransition(p.state, { type: "stopped" }),
    }));
}

/** A pod that should be taken down goes with all of its containers or not at all; it takes no new ones. */
function leavePod(d: Recovering, pod: PodRecord, unreadable: ContainerRecord): void {
  if (pod.state.is === "ready")
    d.pods.update(pod.id, (p) => ({ ...p, state: podTransition(p.state, { type: "stopping" }) }));
  d.log.error(
    { podSandboxId: pod.id, containerId: unreadable.id },
    "a pod that should be taken down is left as it is: the record of a container in it cannot be read, and the container may run; StopPodSandbox ends both",
  );
}

async function isIntact(d: Recovering, pod: PodRecord): Promise<boolean> {
  if (pod.sandbox !== undefined && (await hasSandboxEnded(d, pod, pod.sandbox, cleanup(d)))) return false;
  return d.podHost.isIntact(pod.plan, pod.init);
}

function cleanup(d: Recovering): AbortSignal {
  return AbortSignal.timeout(d.cleanupTimeoutMs);
}
