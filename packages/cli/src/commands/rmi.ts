import { Code, StatusError } from "@keelson/base/status.ts";
import {
  type Image,
  ImageStatusRequest,
  ListContainersRequest,
  ListImagesRequest,
  RemoveImageRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { forEachAtOnce } from "../each.ts";
import { addExamples } from "../flags.ts";
import { note } from "../io.ts";
import { safeText } from "../output/safe-text.ts";
import type { Session } from "../session.ts";

interface RmiFlags {
  all?: boolean;
  prune?: boolean;
}

/** `rmi`: removes images. */
export function addRmi(program: Command, app: App): void {
  const command = program
    .command("rmi")
    .description(
      "remove images, each with all of its tags (the CRI cannot remove one tag alone), and print what was removed",
    )
    .argument("[images...]", "names or ids")
    .option("-a, --all", "every image")
    .option("-q, --prune", "every image that no container uses and that is not pinned")
    .action((names: string[], flags: RmiFlags) =>
      app.run(async (session) => {
        const isWhole = flags.all === true || flags.prune === true;
        const images = isWhole ? [...new Set([...names, ...(await wholeList(session, flags))])] : [...new Set(names)];
        if (images.length === 0)
          return isWhole ? note(session.io, "no images to remove") : app.missing(command, "name the images to remove");
        const remove = (image: string) => removeImage(session, image, flags.prune === true && !names.includes(image));
        return forEachAtOnce(images, remove, (gone) =>
          session.io.stdout.write(gone.map((name) => `Deleted: ${safeText(name)}\n`).join("")),
        );
      }),
    );
  addExamples(command, [
    ["keelctl rmi busybox:1.36", "one image and all of its tags"],
    ["keelctl rmi --prune", "those that are not used"],
  ]);
}

async function wholeList(session: Session, flags: RmiFlags): Promise<string[]> {
  const { images } = await session.image.call("listImages", ListImagesRequest.fromPartial({}));
  if (flags.prune !== true) return images.map((image) => image.id);
  const { containers } = await session.runtime.call("listContainers", ListContainersRequest.fromPartial({}));
  const used = new Set(
    await Promise.all(
      [...new Set(containers.map((one) => one.image?.image ?? ""))].map(
        async (image) => (await statusOf(session, image))?.id,
      ),
    ),
  );
  return images.filter((image) => !image.pinned && !used.has(image.id)).map((image) => image.id);
}

/** Removes one image. Returns the names that it had; with `isRacing`, none when somebody else was faster. */
async function removeImage(session: Session, name: string, isRacing: boolean): Promise<string[]> {
  const image = await statusOf(session, name);
  if (image === undefined) {
    if (isRacing) return [];
    throw new StatusError(Code.NotFound, `there is no image ${name}; \`keelctl images\` lists them`);
  }
  if (image.repoTags.length > 1 && !image.id.replace("sha256:", "").startsWith(name.replace("sha256:", ""))) {
    await note(session.io, `${name} has more tags, which are removed too: ${image.repoTags.join(", ")}`);
  }
  try {
    await session.image.call("removeImage", RemoveImageRequest.fromPartial({ image: { image: name } }));
  } catch (error) {
    // A container may have been created from it since the list was read.
    if (isRacing) return [];
    throw error;
  }
  const names = image.repoTags.length > 0 ? image.repoTags : image.repoDigests;
  return names.length > 0 ? names : [image.id];
}

async function statusOf(session: Session, image: string): Promise<Image | undefined> {
  return (await session.image.call("imageStatus", ImageStatusRequest.fromPartial({ image: { image } }))).image;
}
