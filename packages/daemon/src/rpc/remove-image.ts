import { Code, StatusError } from "@keelson/base/status.ts";
import type { RemoveImageRequest, RemoveImageResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";

/** CRI: RemoveImage. Removes the image with all its names; succeeds when it is gone. */
export async function removeImage(d: Deps, req: RemoveImageRequest): Promise<RemoveImageResponse> {
  const name = req.image?.image ?? "";
  if (name === "") throw new StatusError(Code.InvalidArgument, "image.image is missing: it names the image to remove");
  d.images.remove(name);
  return {};
}
