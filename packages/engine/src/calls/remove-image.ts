import { Code, StatusError } from "@keelson/base/status.ts";
import type { RemoveImageRequest, RemoveImageResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Deps } from "../deps.ts";

/**
 * CRI: RemoveImage. Removes the image with all its names; succeeds when it is gone.
 *
 * Throws FailedPrecondition while a container has it as a volume (KEP-4639): a kubelet that makes room looks only at what
 * containers run, and the container could not be made again where the registry is gone.
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
