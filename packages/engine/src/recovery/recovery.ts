import { existsSync, readdirSync } from "node:fs";
import { messageOf } from "@keelson/base/status.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { Clock, Images, Networks } from "../capabilities.ts";
import { exitEvent } from "../container/exit-watch.ts";
import { putBackResources } from "../container/resources.ts";
import { runtimeOf } from "../container/runtime-container.ts";
import { releaseContainer, removeContainerRecord } from "../container/teardown.ts";
import { hasSandboxEnded } from "../pod/sandbox-container.ts";
import { type PodStopping, watchPod } from "../pod/stop.ts";
import { stopContainersOf, teardownPod } from "../pod/teardown.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { type ContainerEvent, containerTransition } from "../records/container-state.ts";
import { bundleDir, containerDir, containersDir, podDir } from "../records/paths.ts";
import { sandboxBundle } from "../records/pod-files.ts";
import type { PodRecord } from "../records/pod-record.ts";
import { podTransition } from "../records/pod-state.ts";

type Recovering = PodStopping & Networks & Images & Clock;

/**
 * Makes the records agree with what is really there, before the first call is answered: what was
 * being made is undone, what ended is noted with its real code and time, what runs is watched again,
 * what nobody knows is removed. A record that cannot be put right is logged and left as it is.
 */
export async function recover(d: Recovering): Promise<void> {
  using _ = keepRunning();
  for (const container of d.containers.all())
    await attempt(d, "container", container.id, () => recoverContainer(d, container));
  for (const pod of d.pods.all()) await attempt(d, "pod sandbox", pod.id, () => recoverPod(d, pod));
  await attempt(d, "state directory", d.paths.state, () => removeUnknownContainers(d));
  const ready = d.pods.all().filter((p) => p.state.is === "ready");
  // Before the namespaces of pods without a record go: plugins clean up more while they are there.
  await attempt(d, "network", "cni", () => d.network.collectGarbage(new Set(ready.map((p) => p.id)), cleanup(d)));
  await attempt(d, "state directory", d.paths.state, () => removeUnknownPods(d));
  await attempt(d, "image store", d.paths.root, async () => d.images.collectGarbage());
}

/** Node ends a program that waits for nothing but watched processes and timeouts, which do not count; the server that does is not there yet. */
function keepRunning(): Disposable {
  const timer = setInterval(() => {}, 2 ** 30);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

async function attempt(d: Recovering, kind: string, id: string, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    d.log.error({ kind, id, err: error }, `a ${kind} cannot be recovered and is left as it is: ${messageOf(error)}`);
  }
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
        // What cannot be found out now is noted when it ends.
        d.exits.watch(container);
        throw error;
      }
    case "exited":
      // Its end may have been the last that was noted.
      return releaseContainer(d, id);
    case "unknown":
      return;
  }
}

/** Notes what a container is now, and watches it when it runs. */
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

/** What happened to a container while the daemon was down; undefined when nothing did. */
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
  if (pod.state.is === "notReady") return;
  const isOfThisBoot = pod.bootId === d.bootId;
  if (pod.state.is === "ready" && isOfThisBoot && (await isIntact(d, pod))) {
    watchPod(d, pod);
    return;
  }
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

async function isIntact(d: Recovering, pod: PodRecord): Promise<boolean> {
  if (pod.sandbox !== undefined && (await hasSandboxEnded(d, pod, pod.sandbox, cleanup(d)))) return false;
  return d.podHost.isIntact(pod.plan, pod.init);
}

/** Directories that no record knows: of a record that was lost, or from before a restore of the database. */
async function removeUnknownContainers(d: Recovering): Promise<void> {
  const containers = new Set([...idsIn(bundleDir(d.paths, "")), ...idsIn(containersDir(d.paths))]);
  for (const id of containers) {
    if (d.containers.get(id) !== undefined) continue;
    d.log.warn({ id, dir: containerDir(d.paths, id) }, "removing what is left of a container that has no record");
    await attempt(d, "container", id, () => destroyUnknownContainer(d, id));
  }
}

async function removeUnknownPods(d: Recovering): Promise<void> {
  for (const id of idsIn(podDir(d.paths, ""))) {
    if (d.pods.get(id) !== undefined) continue;
    d.log.warn({ id, dir: podDir(d.paths, id) }, "removing what is left of a pod that has no record");
    await attempt(d, "pod sandbox", id, () => destroyUnknownPod(d, id));
  }
}

/** Its handler is not known: the one that has it ends it. */
async function destroyUnknownContainer(d: Recovering, id: string): Promise<void> {
  for (const { runtime } of d.runtimes.all())
    await runtime.delete({ id, bundleDir: bundleDir(d.paths, id) }, cleanup(d));
  await d.containerHost.destroyUnknown(id);
}

/** The same: it may be a container itself. */
async function destroyUnknownPod(d: Recovering, id: string): Promise<void> {
  const bundleDir = sandboxBundle(podDir(d.paths, id), id);
  if (existsSync(bundleDir))
    for (const { runtime } of d.runtimes.all()) await runtime.delete({ id, bundleDir }, cleanup(d));
  await d.podHost.destroyUnknown(id);
}

/** The entries of a directory that have the form of our ids; none when it is not there. */
function idsIn(dir: string): string[] {
  try {
    return readdirSync(dir).filter((name) => /^[0-9a-f]{64}$/.test(name));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}

function cleanup(d: Recovering): AbortSignal {
  return AbortSignal.timeout(d.cleanupTimeoutMs);
}
