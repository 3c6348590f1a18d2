import { StatusError } from "@keelson/base/status.ts";
import { formatReference, parseReference, repositoryOf } from "@keelson/oci/reference.ts";
import type { ImageRecord } from "./record.ts";

/** Finds images by every form of name that clients use. Created again when the images change. */
export class ImageNames<I extends Pick<ImageRecord, "id" | "repoTags" | "repoDigests">> {
  readonly #byId: ReadonlyMap<string, I>;
  readonly #byTag = new Map<string, I>();
  readonly #byRepoDigest = new Map<string, I>();
  readonly #byDigest = new Map<string, I>();

  constructor(images: ReadonlyMap<string, I>) {
    this.#byId = images;
    for (const image of images.values()) {
      for (const tag of image.repoTags) this.#byTag.set(tag, image);
      for (const repoDigest of image.repoDigests) {
        this.#byRepoDigest.set(repoDigest, image);
        this.#byDigest.set(repoDigest.slice(repoDigest.indexOf("@") + 1), image);
      }
    }
  }

  /**
   * Finds an image by its id with or without `sha256:`, by a tag or digest in any form of reference, or by the first
   * digits of its id if they are unique. Undefined when there is none.
   */
  find(text: string): I | undefined {
    return this.#byId.get(text) ?? this.#byId.get(`sha256:${text}`) ?? this.#byReference(text) ?? this.#byPrefix(text);
  }

  /** The image with this digest of a manifest or index, in whichever repository. */
  byDigest(digest: string): I | undefined {
    return this.#byDigest.get(digest);
  }

  #byReference(text: string): I | undefined {
    try {
      const reference = parseReference(text);
      if (reference.digest !== undefined)
        return this.#byRepoDigest.get(`${repositoryOf(reference)}@${reference.digest}`);
      return this.#byTag.get(formatReference(reference));
    } catch (error) {
      if (error instanceof StatusError) return undefined;
      throw error;
    }
  }

  #byPrefix(text: string): I | undefined {
    const digits = text.startsWith("sha256:") ? text.slice(7) : text;
    if (!/^[a-f0-9]{4,63}$/.test(digits)) return undefined;
    const found = [...this.#byId.values()].filter((image) => image.id.startsWith(`sha256:${digits}`));
    return found.length === 1 ? found[0] : undefined;
  }
}
