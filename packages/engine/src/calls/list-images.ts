import type { Image, ImageFilter, ListImagesRequest, ListImagesResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { imageOf } from "./image-messages.ts";

/** CRI: ListImages. */
export async function listImages(d: Deps, req: ListImagesRequest): Promise<ListImagesResponse> {
  return { images: imagesOf(d, req.filter) };
}

/** The images that a list returns. */
export function imagesOf(d: Deps, filter: ImageFilter | undefined): Image[] {
  const wanted = filter?.image?.image ?? "";
  const images = wanted === "" ? d.images.list() : [d.images.find(wanted)].filter((image) => image !== undefined);
  return images.map((image) => imageOf(image, d.pinnedImages));
}
