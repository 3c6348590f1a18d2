import type { Image } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ImageRecord } from "@keelson/images/record.ts";

/** An image as the CRI shows it. `pinnedNames` are the references that garbage collection must spare. */
export function imageOf(image: ImageRecord, pinnedNames: ReadonlySet<string>): Image {
  return {
    id: image.id,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    size: BigInt(image.sizeBytes),
    ...userOf(image.config.user),
    spec: undefined,
    pinned: [...image.repoTags, ...image.repoDigests].some((name) => pinnedNames.has(name)),
  };
}

/** CRI: the uid when USER begins with a number, else the name; the group is left out. */
function userOf(user: string): Pick<Image, "uid" | "username"> {
  const name = user.split(":")[0]!;
  if (/^\d{1,18}$/.test(name)) return { uid: { value: BigInt(name) }, username: "" };
  return name === "" ? { uid: { value: 0n }, username: "" } : { uid: undefined, username: name };
}
