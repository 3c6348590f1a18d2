import { Code, StatusError } from "@keelson/base/status.ts";
import { type Image, ListImagesRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { pattern } from "./select.ts";
import type { Session } from "./session.ts";

/** The images with the given name ("" for all) that pass every `--filter`, sorted by tag, digest and id. */
export async function listImages(session: Session, name: string, filters: readonly string[]): Promise<Image[]> {
  const { images } = await session.image.call(
    "listImages",
    ListImagesRequest.fromPartial({ filter: { image: { image: name } } }),
  );
  return filters.reduce(applyFilter, images.toSorted(byName));
}

function byName(a: Image, b: Image): number {
  const [x, y] = a.repoTags.length > 0 && b.repoTags.length > 0 ? [a.repoTags[0]!, b.repoTags[0]!] : byDigest(a, b);
  return x < y ? -1 : x > y ? 1 : 0;
}

function byDigest(a: Image, b: Image): [string, string] {
  return a.repoDigests.length > 0 && b.repoDigests.length > 0 ? [a.repoDigests[0]!, b.repoDigests[0]!] : [a.id, b.id];
}

/** crictl's filters; before and since mean positions in the sorted list, because the CRI knows no age. */
function applyFilter(images: Image[], filter: string): Image[] {
  const at = filter.indexOf("=");
  const value = filter.slice(at + 1);
  switch (at < 0 ? "" : filter.slice(0, at)) {
    case "dangling":
      if (value !== "true" && value !== "false")
        throw new StatusError(Code.InvalidArgument, `--filter ${filter}: must be true or false`);
      return images.filter((image) => (image.repoTags.length === 0) === (value === "true"));
    case "reference": {
      const wanted = pattern(value, "--filter reference");
      return images.filter((image) => wanted.test(splitDigest(image).name));
    }
    case "before":
      return untilMatch(images.toReversed(), value).reverse();
    case "since":
      return untilMatch(images, value);
    default:
      throw new StatusError(
        Code.InvalidArgument,
        `--filter ${filter}: must be dangling=, reference=, before= or since=`,
      );
  }
}

function untilMatch(images: Image[], wanted: string): Image[] {
  const at = images.findIndex((image) => {
    if (wanted.includes("@")) return image.repoDigests.some((digest) => digest.startsWith(wanted));
    return image.repoTags.includes(wanted) || image.id.startsWith(wanted) || image.id.startsWith(`sha256:${wanted}`);
  });
  return at < 0 ? images : images.slice(0, at);
}

/** Name and digest of an image by its first repo digest. */
export function splitDigest(image: Image): { name: string; digest: string } {
  const [name, digest] = image.repoDigests[0]?.split("@") ?? [];
  return { name: name ?? "<none>", digest: digest ?? "<none>" };
}

/** Name and tag for each of an image's tags; one pair with the tag `<none>` when it has none. */
export function splitTags(image: Image): { name: string; tag: string }[] {
  const fallback = splitDigest(image).name;
  if (image.repoTags.length === 0) return [{ name: fallback, tag: "<none>" }];
  return image.repoTags.map((repoTag) => {
    const at = repoTag.lastIndexOf(":");
    const name = at < 0 ? repoTag : repoTag.slice(0, at);
    return { name: name === "<none>" ? fallback : name, tag: at < 0 ? "<none>" : repoTag.slice(at + 1) };
  });
}
