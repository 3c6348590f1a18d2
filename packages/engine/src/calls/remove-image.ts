import { Code, StatusError } from "@keelson/base/status.ts";
import type { RemoveImageRequest, RemoveImageResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";

/**
 * CRI: RemoveImage. Removes the image with all its names; succeeds when there is none.
 *
 * Throws FailedPrecondition while a container has the image as a volume (KEP-4639): a kubelet that frees disk space
 * looks only at the images that containers run, and without a registry the container could not be created again.
 */
export async function removeImage(d: Deps, req: RemoveImageRequest): Promise<RemoveImageResponse> {
  const name = req.image?.image ?? "";
  if (name === "") throw new StatusError(Code.InvalidArgument, "image.image is missing: it names the image to remove");
  refuseMounted(d, name);
  d.images.remove(name);
  return {};
}

function refuseMounted(d: Deps, name: string): void {
  const id = d.images.find(name)?.id;
  const user = d.containers.all().find((container) => container.mountedImages.some((image) => image.imageId === id));
  if (user !== undefined)
    throw new StatusError(
      Code.FailedPrecondition,
      `image ${name} is mounted in container ${user.id} (${user.config.metadata?.name ?? ""}); remove that first`,
    );
}
