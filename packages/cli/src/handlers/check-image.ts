import { wrapError } from "@keelson/base/status.ts";
import { ImageStatusRequest, ListImagesRequest, RemoveImageRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { pullImage } from "../pull/pull-image.ts";
import type { Session } from "../session.ts";

/** The image that is pulled when the runtime has none that fits. */
export const defaultCheckImage = "docker.io/library/busybox:1.36";

/** An image with sleep and uname. Disposing of it removes an image that was pulled for this. */
export interface CheckImage extends AsyncDisposable {
  readonly name: string;
}

/** The image that the user named, else any busybox that the runtime has, else one that is pulled. */
export async function openCheckImage(session: Session, named: string | undefined): Promise<CheckImage> {
  const present = named === undefined ? await anyBusybox(session) : await ifPresent(session, named);
  if (present !== undefined) return { name: present, [Symbol.asyncDispose]: () => Promise.resolve() };
  const name = named ?? defaultCheckImage;
  try {
    await pullImage(session, name, {});
  } catch (error) {
    session.io.signal.throwIfAborted();
    throw wrapError(
      `pull ${name} for the check (name an image that the runtime has with --image; it needs sleep and uname)`,
      error,
    );
  }
  return {
    name,
    async [Symbol.asyncDispose]() {
      await session.image.call("removeImage", RemoveImageRequest.fromPartial({ image: { image: name } }), {
        afterInterrupt: true,
      });
    },
  };
}

async function ifPresent(session: Session, image: string): Promise<string | undefined> {
  const { image: found } = await session.image.call(
    "imageStatus",
    ImageStatusRequest.fromPartial({ image: { image } }),
  );
  return found === undefined ? undefined : image;
}

async function anyBusybox(session: Session): Promise<string | undefined> {
  const { images } = await session.image.call("listImages", ListImagesRequest.fromPartial({}));
  const tags = images.flatMap((image) => image.repoTags).filter((tag) => /(^|\/)busybox:[^/]+$/.test(tag));
  return tags.toSorted()[0];
}
