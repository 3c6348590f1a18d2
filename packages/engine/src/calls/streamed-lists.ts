import type {
  StreamContainersRequest,
  StreamContainersResponse,
  StreamContainerStatsRequest,
  StreamContainerStatsResponse,
  StreamImagesRequest,
  StreamImagesResponse,
  StreamPodSandboxesRequest,
  StreamPodSandboxesResponse,
  StreamPodSandboxMetricsResponse,
  StreamPodSandboxStatsRequest,
  StreamPodSandboxStatsResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { podsMatching } from "./filters.ts";
import { allContainerStats } from "./list-container-stats.ts";
import { containersOf } from "./list-containers.ts";
import { imagesOf } from "./list-images.ts";
import { allPodSandboxStats } from "./list-pod-sandbox-stats.ts";
import { podSandboxesOf } from "./list-pod-sandbox.ts";

/**
 * KEP-5825: lists that may be larger than a message. Each message has some of the items; the next one waits until the
 * client has room for it, so that a slow client costs no memory.
 */
type Write<R> = (message: R) => Promise<void>;

/** Items in a message: with a kubelet's labels and annotations they take a few hundred KiB, far below any limit. */
const batchSize = 100;

export async function streamPodSandboxes(
  d: Deps,
  req: StreamPodSandboxesRequest,
  write: Write<StreamPodSandboxesResponse>,
): Promise<void> {
  for (const podSandboxes of inBatches(podSandboxesOf(d, req.filter))) await write({ podSandboxes });
}

export async function streamContainers(
  d: Deps,
  req: StreamContainersRequest,
  write: Write<StreamContainersResponse>,
): Promise<void> {
  for (const containers of inBatches(containersOf(d, req.filter))) await write({ containers });
}

export async function streamContainerStats(
  d: Deps,
  req: StreamContainerStatsRequest,
  write: Write<StreamContainerStatsResponse>,
): Promise<void> {
  for (const containerStats of inBatches(await allContainerStats(d, req.filter))) await write({ containerStats });
}

export async function streamPodSandboxStats(
  d: Deps,
  req: StreamPodSandboxStatsRequest,
  write: Write<StreamPodSandboxStatsResponse>,
): Promise<void> {
  for (const podSandboxStats of inBatches(await allPodSandboxStats(d, req.filter))) await write({ podSandboxStats });
}

/** A pod has many metrics, so they are also measured batch by batch. */
export async function streamPodSandboxMetrics(d: Deps, write: Write<StreamPodSandboxMetricsResponse>): Promise<void> {
  for (const pods of inBatches(podsMatching(d, undefined)))
    await write({ podSandboxMetrics: await d.stats.podMetrics(pods) });
}

export async function streamImages(
  d: Deps,
  req: StreamImagesRequest,
  write: Write<StreamImagesResponse>,
): Promise<void> {
  for (const images of inBatches(imagesOf(d, req.filter))) await write({ images });
}

function* inBatches<T>(items: readonly T[]): Iterable<T[]> {
  for (let from = 0; from < items.length; from += batchSize) yield items.slice(from, from + batchSize);
}
