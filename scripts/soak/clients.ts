import {
  ContainerState,
  ContainerStatusRequest,
  ImageFsInfoRequest,
  ImageStatusRequest,
  ListContainersRequest,
  ListImagesRequest,
  ListPodSandboxRequest,
  PodSandboxState,
  PodSandboxStatusRequest,
  PullImageRequest,
  RemoveImageRequest,
  RemovePodSandboxRequest,
  StatusRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { type Caller, FailureNoted } from "./caller.ts";
import type { Random } from "./random.ts";
import { pause } from "./sampler.ts";
import { missing, type World } from "./world.ts";

/** Repeats something until the signal aborts. Failures are recorded and do not end it. */
export async function repeat(
  caller: Caller,
  everyMs: number,
  signal: AbortSignal,
  work: () => Promise<void>,
): Promise<void> {
  while (await pause(everyMs, signal)) {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof FailureNoted)) caller.ledger.fail("the soak itself", "", error);
    }
  }
}

/** Makes lists and statuses like a kubelet's PLEG. What was created and is not being taken down must be in them. */
export async function listAll(caller: Caller, world: World, random: Random): Promise<void> {
  const pods = new Set(world.readyPods);
  const containers = new Set(world.runningContainers);
  const listedPods = await caller.call("listPodSandbox", ListPodSandboxRequest.fromPartial({}));
  const ready = new Set(
    listedPods.items.filter(({ state }) => state === PodSandboxState.SANDBOX_READY).map(({ id }) => id),
  );
  const lostPods = missing(pods, world.readyPods, ready);
  caller.expect(lostPods.length === 0, "every pod is listed as READY", "listPodSandbox", () => lostPods.join(" "));
  const listedContainers = await caller.call("listContainers", ListContainersRequest.fromPartial({}));
  const running = new Set(
    listedContainers.containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING).map(({ id }) => id),
  );
  const lostContainers = missing(containers, world.runningContainers, running);
  caller.expect(lostContainers.length === 0, "every container is listed as RUNNING", "listContainers", () =>
    lostContainers.join(" "),
  );
  const pod = random.pick([...world.readyPods, ""]);
  const container = random.pick([...world.runningContainers, ""]);
  if (pod !== "")
    await statusOf(
      caller,
      "podSandboxStatus",
      () => world.readyPods.has(pod),
      PodSandboxStatusRequest.fromPartial({ podSandboxId: pod }),
    );
  if (container !== "")
    await statusOf(
      caller,
      "containerStatus",
      () => world.runningContainers.has(container),
      ContainerStatusRequest.fromPartial({ containerId: container, verbose: true }),
    );
  if (random.chance(0.1)) await caller.call("status", StatusRequest.fromPartial({ verbose: true }));
}

/** The pod or container may be removed meanwhile; then NotFound is right. */
async function statusOf<N extends "podSandboxStatus" | "containerStatus">(
  caller: Caller,
  name: N,
  isThere: () => boolean,
  request: Parameters<typeof caller.attempt<N>>[1],
): Promise<void> {
  const outcome = await caller.attempt(name, request);
  if (outcome.is === "refused" && isThere()) caller.fail(name, request, outcome.error);
}

/** Pulls and removes images that nobody else uses; now and then the client goes away during a pull. */
export async function churnImage(caller: Caller, images: readonly string[], random: Random): Promise<void> {
  const image = random.pick(images);
  const spec = { image: { image } };
  const pull = PullImageRequest.fromPartial(spec);
  const { imageRef } = random.chance(0.3)
    ? await caller.callTwice("pullImage", pull, random.between(0, 80))
    : await caller.call("pullImage", pull);
  const { image: found } = await caller.call("imageStatus", ImageStatusRequest.fromPartial(spec));
  caller.expect(found?.id === imageRef, "a pulled image exists", spec, () => `it is ${found?.id}, not ${imageRef}`);
  const { images: listed } = await caller.call("listImages", ListImagesRequest.fromPartial({}));
  caller.expect(
    listed.some(({ id }) => id === imageRef),
    "a pulled image is listed",
    spec,
    () => listed.map(({ id }) => id).join(" "),
  );
  await caller.call("imageFsInfo", ImageFsInfoRequest.fromPartial({}));
  if (random.chance(0.2)) return;
  await caller.call("removeImage", RemoveImageRequest.fromPartial(spec));
  const { image: gone } = await caller.call("imageStatus", ImageStatusRequest.fromPartial(spec));
  caller.expect(gone === undefined, "a removed image is gone", spec, () => `it is still ${gone?.id}`);
}

/** Takes down pods that nobody owns, left by clients that went away for good, as a kubelet does with unknown pods. */
export async function removeOrphans(caller: Caller, world: World): Promise<void> {
  const { items } = await caller.call("listPodSandbox", ListPodSandboxRequest.fromPartial({}));
  for (const { id, metadata } of items) {
    if (world.ownedPods.has(metadata?.name ?? "")) continue;
    await caller.call("stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId: id }));
    await caller.call("removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId: id }));
  }
}
