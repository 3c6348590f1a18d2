import type { ListImagesRequest, ListImagesResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";
import { imageOf } from "./image-messages.ts";

/** CRI: ListImages. */
export async function listImages(d: Deps, req: ListImagesRequest): Promise<ListImagesResponse> {
  const wanted = req.filter?.image?.image ?? "";
  const images = wanted === "" ? d.images.list() : [d.images.find(wanted)].filter((image) => image !== undefined);
  return { images: images.map((image) => imageOf(image, d.pinnedImages)) };
}
