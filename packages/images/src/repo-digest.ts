import { StatusError } from "@keelson/base/status.ts";
import { parseReference, repositoryOf } from "@keelson/oci/reference.ts";
import type { ImageRecord } from "./record.ts";

/**
 * The `repository@digest` that an image was pulled by, for somebody who calls it by `names`, the best one first: one of
 * the repository that a name has, else any. Undefined when no registry has served the image.
 */
export function repoDigestOf(
  { repoDigests }: Pick<ImageRecord, "repoDigests">,
  names: readonly string[],
): string | undefined {
  for (const name of names) {
    if (repoDigests.includes(name)) return name;
    const repository = repositoryIn(name);
    const found = repoDigests.find((repoDigest) => repoDigest.startsWith(`${repository}@`));
    if (found !== undefined) return found;
  }
  return repoDigests[0];
}

/** Undefined for an image's id, and for whatever else is no reference. */
function repositoryIn(name: string): string | undefined {
  try {
    return repositoryOf(parseReference(name));
  } catch (error) {
    if (error instanceof StatusError) return undefined;
    throw error;
  }
}
