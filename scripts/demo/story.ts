import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import {
  ContainerState,
  ContainerStatusRequest,
  CreateContainerRequest,
  ListContainersRequest,
  PullImageRequest,
  RemoveContainerRequest,
  RemoveImageRequest,
  RemovePodSandboxRequest,
  RunPodSandboxRequest,
  StartContainerRequest,
  StatusRequest,
  StopContainerRequest,
  StopPodSandboxRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { busyboxImage } from "@keelson/testkit/image.ts";
import { Registry } from "@keelson/testkit/registry.ts";
import { waitFor } from "@keelson/testkit/wait.ts";
import { type Cast, containerConfig, podConfig } from "./cast.ts";
import { lookAround } from "./look-around.ts";
import type { Stage } from "./stage.ts";
import { assertGapless, readTicks } from "./ticks.ts";

/**
 * The demo, step by step: from a registry and a daemon to a pod with a container, through the death of the daemon, to
 * the end of them all. Throws the error of the first step that fails.
 */
export async function tellStory(stage: Stage): Promise<void> {
  await using registry = await startRegistry(stage);
  const image = await makeImage(stage, registry);
  await startDaemon(stage);
  const cast = await runContainer(stage, await pullImage(stage, image));
  await lookAround(stage, cast);
  const killedAtMs = await killDaemon(stage);
  await startDaemonAgain(stage, cast);
  await checkNothingWasLost(stage, killedAtMs);
  await stopEverything(stage, cast);
  await removeEverything(stage, cast, image);
}

function startRegistry(stage: Stage): Promise<Registry> {
  return stage.step("start an image registry", async (say) => {
    const registry = await Registry.start();
    say(`${registry.host}, in this process`);
    return registry;
  });
}

function makeImage(stage: Stage, registry: Registry): Promise<string> {
  return stage.step("make an image", async (say) => {
    const content = busyboxImage();
    const kb = content.layers.reduce((sum, layer) => sum + layer.bytes.length, 0) / 1000;
    say(`busybox from Debian's busybox-static, ${Math.round(kb)} kB`);
    return registry.add("library/busybox", "latest", content);
  });
}

async function startDaemon(stage: Stage): Promise<void> {
  await stage.step("start keelsond", async (say) => {
    const { pid, endpoint } = await stage.startDaemon();
    const { runtimeVersion } = await stage.call("version", { version: "" });
    say(`version ${runtimeVersion}, process ${pid}, ${endpoint}`);
  });
  await stage.step("wait until it is ready", async (say) => {
    await untilReady(stage);
    say("RuntimeReady and NetworkReady (bridge, host-local, portmap)");
  });
}

function pullImage(stage: Stage, image: string): Promise<string> {
  return stage.step("PullImage", async (say) => {
    const { imageRef } = await stage.call("pullImage", PullImageRequest.fromPartial({ image: { image } }));
    say(image, imageRef);
    return imageRef;
  });
}

/** Runs a pod, and the container in it. */
async function runContainer(stage: Stage, imageId: string): Promise<Cast> {
  const [config, sandboxConfig] = [containerConfig(stage, imageId), podConfig(stage)];
  const podId = await stage.step("RunPodSandbox", async (say) => {
    const request = RunPodSandboxRequest.fromPartial({ config: sandboxConfig });
    const { podSandboxId } = await stage.call("runPodSandbox", request);
    say(podSandboxId.slice(0, 13));
    return podSandboxId;
  });
  const containerId = await stage.step("CreateContainer", async (say) => {
    const request = CreateContainerRequest.fromPartial({ podSandboxId: podId, config, sandboxConfig });
    const { containerId } = await stage.call("createContainer", request);
    say(containerId.slice(0, 13));
    return containerId;
  });
  await stage.step("StartContainer", async (say) => {
    await stage.call("startContainer", StartContainerRequest.fromPartial({ containerId }));
    say("sh, a web page and a line in the log ten times a second");
  });
  return { podId, containerId };
}

/** Returns when that was, in ms since 1970. */
async function killDaemon(stage: Stage): Promise<number> {
  const killedAtMs = await stage.step("kill -9 keelsond", async (say) => {
    const nowMs = Date.now();
    await stage.endDaemon("SIGKILL");
    say("and leave it dead for half a second");
    return nowMs;
  });
  await sleep(500, undefined, { signal: stage.signal });
  return killedAtMs;
}

function startDaemonAgain(stage: Stage, { containerId }: Cast): Promise<void> {
  return stage.step("start keelsond again", async (say) => {
    const { pid } = await stage.startDaemon();
    await untilReady(stage);
    const filter = { state: { state: ContainerState.CONTAINER_RUNNING } };
    const { containers } = await stage.call("listContainers", ListContainersRequest.fromPartial({ filter }));
    if (containers[0]?.id !== containerId) throw new Error("the container is no longer listed as running");
    say(`process ${pid} found the pod and its container running`);
  });
}

function checkNothingWasLost(stage: Stage, killedAtMs: number): Promise<void> {
  const { logFile } = stage;
  return stage.step("nothing was lost", async (say) => {
    const servingAtMs = Date.now();
    const lastAtMs = () => readTicks(logFile).at(-1)?.atMs ?? 0;
    await waitFor(() => lastAtMs() > servingAtMs, { message: "the container logs no more" });
    const ticks = readTicks(logFile);
    assertGapless(ticks);
    const meanwhile = ticks.filter(({ atMs }) => atMs > killedAtMs && atMs < servingAtMs).length;
    if (meanwhile === 0) throw new Error("no line was logged while keelsond was down");
    say(`lines 1 to ${ticks.length} without a gap, ${meanwhile} of them without a keelsond`);
  });
}

async function stopEverything(stage: Stage, { podId, containerId }: Cast): Promise<void> {
  await stage.step("StopContainer", async (say) => {
    await stage.call("stopContainer", StopContainerRequest.fromPartial({ containerId, timeout: 10n }));
    const { status } = await stage.call("containerStatus", ContainerStatusRequest.fromPartial({ containerId }));
    if (status?.exitCode !== 0)
      throw new Error(`the container ended with ${status?.exitCode} (${status?.reason}), not 0`);
    if (!/ stdout F bye$/m.test(readFileSync(stage.logFile, "utf8")))
      throw new Error("the container's last line is not in its log");
    say(`SIGTERM; it logged a bye and ended: ${status.reason}, exit code ${status.exitCode}`);
  });
  await stage.step("StopPodSandbox", async (say) => {
    await stage.call("stopPodSandbox", StopPodSandboxRequest.fromPartial({ podSandboxId: podId }));
    say("address, interface and namespaces given back");
  });
}

async function removeEverything(stage: Stage, { podId, containerId }: Cast, image: string): Promise<void> {
  await stage.step("Remove all three", async (say) => {
    await stage.call("removeContainer", RemoveContainerRequest.fromPartial({ containerId }));
    await stage.call("removePodSandbox", RemovePodSandboxRequest.fromPartial({ podSandboxId: podId }));
    await stage.call("removeImage", RemoveImageRequest.fromPartial({ image: { image } }));
    say("container, pod, image");
  });
  await stage.step("end keelsond", async (say) => {
    await stage.endDaemon("SIGTERM");
    say("SIGTERM");
  });
}

/** Waits for all conditions of Status. NetworkReady comes when keelsond has read the CNI list. */
async function untilReady(stage: Stage): Promise<void> {
  let missing = "";
  const isReady = async () => {
    const { status } = await stage.call("status", StatusRequest.fromPartial({}));
    const unmet = (status?.conditions ?? []).filter((condition) => !condition.status);
    missing = unmet.map(({ type, reason, message }) => `${type} is false: ${reason} ${message}`).join("; ");
    return status !== undefined && unmet.length === 0;
  };
  await waitFor(isReady, { message: () => missing });
}
