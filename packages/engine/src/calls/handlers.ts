import { exhaustionOf } from "@keelson/base/exhaustion.ts";
import type { Handlers } from "@keelson/cri/handlers.ts";
import type { Deps } from "../deps.ts";
import { attach } from "./attach.ts";
import { containerStats } from "./container-stats.ts";
import { containerStatus } from "./container-status.ts";
import { createContainer } from "./create-container.ts";
import { execSync } from "./exec-sync.ts";
import { exec } from "./exec.ts";
import { getContainerEvents } from "./get-container-events.ts";
import { imageFsInfo } from "./image-fs-info.ts";
import { imageStatus } from "./image-status.ts";
import { listContainerStats } from "./list-container-stats.ts";
import { listContainers } from "./list-containers.ts";
import { listImages } from "./list-images.ts";
import { listMetricDescriptors } from "./list-metric-descriptors.ts";
import { listPodSandboxMetrics } from "./list-pod-sandbox-metrics.ts";
import { listPodSandboxStats } from "./list-pod-sandbox-stats.ts";
import { listPodSandbox } from "./list-pod-sandbox.ts";
import { podSandboxStats } from "./pod-sandbox-stats.ts";
import { podSandboxStatus } from "./pod-sandbox-status.ts";
import { portForward } from "./port-forward.ts";
import { pullImage } from "./pull-image.ts";
import { removeContainer } from "./remove-container.ts";
import { removeImage } from "./remove-image.ts";
import { removePodSandbox } from "./remove-pod-sandbox.ts";
import { reopenContainerLog } from "./reopen-container-log.ts";
import { runPodSandbox } from "./run-pod-sandbox.ts";
import { runtimeConfig } from "./runtime-config.ts";
import { startContainer } from "./start-container.ts";
import { status } from "./status.ts";
import { stopContainer } from "./stop-container.ts";
import { stopPodSandbox } from "./stop-pod-sandbox.ts";
import {
  streamContainers,
  streamContainerStats,
  streamImages,
  streamPodSandboxes,
  streamPodSandboxMetrics,
  streamPodSandboxStats,
} from "./streamed-lists.ts";
import { updateContainerResources } from "./update-container-resources.ts";
import { updatePodSandboxResources } from "./update-pod-sandbox-resources.ts";
import { updateRuntimeConfig } from "./update-runtime-config.ts";
import { version } from "./version.ts";

/** The calls that there are, by their names. */
export type Calls = Required<Omit<Handlers, "checkpointContainer">>;

/** The calls that this engine answers; the server answers Unimplemented to the others. */
export function createHandlers(d: Deps): Calls {
  return withExhaustionNamed({
    version,
    status: (req) => status(d, req),
    runtimeConfig: () => runtimeConfig(d),
    updateRuntimeConfig: (req) => updateRuntimeConfig(d, req),
    runPodSandbox: (req, signal) => runPodSandbox(d, req, signal),
    stopPodSandbox: (req, signal) => stopPodSandbox(d, req, signal),
    removePodSandbox: (req, signal) => removePodSandbox(d, req, signal),
    podSandboxStatus: (req) => podSandboxStatus(d, req),
    listPodSandbox: (req) => listPodSandbox(d, req),
    createContainer: (req, signal) => createContainer(d, req, signal),
    startContainer: (req, signal) => startContainer(d, req, signal),
    stopContainer: (req, signal) => stopContainer(d, req, signal),
    removeContainer: (req, signal) => removeContainer(d, req, signal),
    containerStatus: (req) => containerStatus(d, req),
    listContainers: (req) => listContainers(d, req),
    updateContainerResources: (req, signal) => updateContainerResources(d, req, signal),
    updatePodSandboxResources: (req, signal) => updatePodSandboxResources(d, req, signal),
    execSync: (req, signal) => execSync(d, req, signal),
    exec: (req) => exec(d, req),
    attach: (req) => attach(d, req),
    portForward: (req) => portForward(d, req),
    reopenContainerLog: (req, signal) => reopenContainerLog(d, req, signal),
    listImages: (req) => listImages(d, req),
    imageStatus: (req) => imageStatus(d, req),
    pullImage: (req, signal) => pullImage(d, req, signal),
    removeImage: (req) => removeImage(d, req),
    imageFsInfo: () => imageFsInfo(d),
    containerStats: (req) => containerStats(d, req),
    listContainerStats: (req) => listContainerStats(d, req),
    podSandboxStats: (req) => podSandboxStats(d, req),
    listPodSandboxStats: (req) => listPodSandboxStats(d, req),
    listMetricDescriptors: () => listMetricDescriptors(d),
    listPodSandboxMetrics: () => listPodSandboxMetrics(d),
    streamPodSandboxes: (req, write) => streamPodSandboxes(d, req, write),
    streamContainers: (req, write) => streamContainers(d, req, write),
    streamImages: (req, write) => streamImages(d, req, write),
    streamContainerStats: (req, write) => streamContainerStats(d, req, write),
    streamPodSandboxStats: (req, write) => streamPodSandboxStats(d, req, write),
    streamPodSandboxMetrics: (_, write) => streamPodSandboxMetrics(d, write),
    getContainerEvents: (_, write, signal) => getContainerEvents(d, write, signal),
  });
}

/** A full disk and the like can strike in any call, and mean the same in each. */
function withExhaustionNamed(handlers: Calls): Calls {
  const entries = Object.entries(handlers as Record<string, (...args: unknown[]) => Promise<unknown>>);
  return Object.fromEntries(
    entries.map(([name, handler]) => [
      name,
      async (...args: unknown[]) => {
        try {
          return await handler(...args);
        } catch (error) {
          throw exhaustionOf(error) ?? error;
        }
      },
    ]),
  ) as unknown as Calls;
}
