import { Code, StatusError } from "@keelson/base/status.ts";
import type { ImageStatusRequest, ImageStatusResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ImageRecord } from "@keelson/images/record.ts";
import { formatReference, parseReference } from "@keelson/oci/reference.ts";
import type { Deps } from "../deps.ts";
import { imageOf } from "./image-messages.ts";

/** CRI: ImageStatus. An image that is not on this node is no error: the response then has no image. */
export async function imageStatus(d: Deps, req: ImageStatusRequest): Promise<ImageStatusResponse> {
  const name = req.image?.image ?? "";
  if (name === "") throw new StatusError(Code.InvalidArgument, "image.image is missing: it names the image");
  const image = d.images.find(name);
  const info: Record<string, string> = {};
  if (req.verbose && image !== undefined) info["info"] = JSON.stringify(verboseInfo(image));
  if (req.verbose) Object.assign(info, pullProgress(d, name));
  return { image: image === undefined ? undefined : imageOf(image, d.pinnedImages), info };
}

function verboseInfo(image: ImageRecord): object {
  return { manifestDigest: image.manifestDigest, layers: image.layers, imageSpec: image.config };
}

/** The progress of the pull of this image, for clients that show it. */
function pullProgress(d: Deps, name: string): Record<string, string> {
  const reference = normalised(name);
  const pull = d.puller.pullsInProgress().find((p) => p.reference === reference);
  if (pull === undefined) return {};
  const layers = pull.layers.map(({ digest, stage, receivedBytes, totalBytes }) => ({
    digest,
    stage,
    bytes: receivedBytes,
    totalBytes,
  }));
  return { pullProgress: JSON.stringify({ stage: pull.stage, startedAtMs: pull.startedAtMs, layers }) };
}

function normalised(name: string): string | undefined {
  try {
    return formatReference(parseReference(name));
  } catch {
    return undefined; // An id is not pulled.
  }
}
