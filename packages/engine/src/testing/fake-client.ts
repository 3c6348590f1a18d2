import {
  ContainerConfig,
  ListContainersRequest,
  ListPodSandboxRequest,
  PodSandboxConfig,
  UpdateContainerResourcesRequest,
  UpdatePodSandboxResourcesRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { fromJson } from "@keelson/cri/json.ts";
import { containerStatus } from "../calls/container-status.ts";
import { createContainer } from "../calls/create-container.ts";
import { listContainers } from "../calls/list-containers.ts";
import { listPodSandbox } from "../calls/list-pod-sandbox.ts";
import { podSandboxStatus } from "../calls/pod-sandbox-status.ts";
import { removeContainer } from "../calls/remove-container.ts";
import { removePodSandbox } from "../calls/remove-pod-sandbox.ts";
import { runPodSandbox } from "../calls/run-pod-sandbox.ts";
import { startContainer } from "../calls/start-container.ts";
import { stopContainer } from "../calls/stop-container.ts";
import { stopPodSandbox } from "../calls/stop-pod-sandbox.ts";
import { updateContainerResources } from "../calls/update-container-resources.ts";
import { updatePodSandboxResources } from "../calls/update-pod-sandbox-resources.ts";
import type { FakeNode } from "./fake-node.ts";

const noSignal = new AbortController().signal;

/** A complete pod config with some fields replaced, by their JSON names in the CRI. */
export function podConfig(over: object = {}): PodSandboxConfig {
  const json = {
    metadata: { name: "web", namespace: "default", uid: "u1", attempt: 0 },
    hostname: "web",
    log_directory: "/var/log/pods/web",
    ...over,
  };
  return PodSandboxConfig.fromPartial(fromJson("PodSandboxConfig", json));
}

/** A complete container config with some fields replaced. */
export function containerConfig(over: object = {}): ContainerConfig {
  return ContainerConfig.fromPartial(
    fromJson("ContainerConfig", {
      metadata: { name: "app", attempt: 0 },
      image: { image: "busybox" },
      log_path: "app.log",
      ...over,
    }),
  );
}

/** A client's calls, with defaults. Each call goes to the daemon that runs at that time. */
export function clientOf(node: FakeNode, signal: AbortSignal = noSignal) {
  return {
    runPod: async (config: object = {}, runtimeHandler = "") =>
      (await runPodSandbox(node.deps, { config: podConfig(config), runtimeHandler }, signal)).podSandboxId,
    createContainer: async (podSandboxId: string, config: object = {}) =>
      (
        await createContainer(
          node.deps,
          { podSandboxId, config: containerConfig(config), sandboxConfig: undefined },
          signal,
        )
      ).containerId,
    startContainer: (containerId: string) => startContainer(node.deps, { containerId }, signal),
    stopContainer: (containerId: string, timeout = 0n) => stopContainer(node.deps, { containerId, timeout }, signal),
    removeContainer: (containerId: string) => removeContainer(node.deps, { containerId }, signal),
    updateContainer: (containerId: string, resources: object) =>
      updateContainerResources(
        node.deps,
        UpdateContainerResourcesRequest.fromPartial(
          fromJson("UpdateContainerResourcesRequest", { container_id: containerId, linux: resources }),
        ),
        signal,
      ),
    updatePod: (podSandboxId: string, update: object) =>
      updatePodSandboxResources(
        node.deps,
        UpdatePodSandboxResourcesRequest.fromPartial(
          fromJson("UpdatePodSandboxResourcesRequest", { pod_sandbox_id: podSandboxId, ...update }),
        ),
        signal,
      ),
    stopPod: (podSandboxId: string) => stopPodSandbox(node.deps, { podSandboxId }, signal),
    removePod: (podSandboxId: string) => removePodSandbox(node.deps, { podSandboxId }, signal),
    listPods: async (filter: object = {}) =>
      (await listPodSandbox(node.deps, ListPodSandboxRequest.fromPartial({ filter }))).items,
    listContainers: async (filter: object = {}) =>
      (await listContainers(node.deps, ListContainersRequest.fromPartial({ filter }))).containers,
    podStatus: async (podSandboxId: string) =>
      (await podSandboxStatus(node.deps, { podSandboxId, verbose: true })).status!,
    containerStatus: async (containerId: string) =>
      (await containerStatus(node.deps, { containerId, verbose: true })).status!,
  };
}

export type Client = ReturnType<typeof clientOf>;
