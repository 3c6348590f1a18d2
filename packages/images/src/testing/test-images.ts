import { type Images, type ImagesDeps, type ImagesSettings, openImages } from "../open-images.ts";
import type { LayerLimits } from "../unpack/layer-limits.ts";

interface TestImagesOptions extends ImagesDeps, Partial<Omit<ImagesSettings, "layerLimits">> {
  /** Replace limits that no other test reaches. */
  readonly layerLimits?: Partial<LayerLimits>;
}

/** Images for a test. `warmThreadPool` must have run before the first pull. */
export function openTestImages({
  hostsDirectories = [],
  maxParallelDownloads = 4,
  keepLayers = false,
  layerLimits,
  ...deps
}: TestImagesOptions): Promise<Images> {
  const limits = { maxBytes: 2 ** 33, maxRatio: 1000, maxEntries: 1_000_000, maxPathBytes: 4095, ...layerLimits };
  return openImages(deps, { hostsDirectories, maxParallelDownloads, keepLayers, layerLimits: limits });
}
