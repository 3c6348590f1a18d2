import type { Image } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, listOption } from "../flags.ts";
import { listImages, splitDigest, splitTags } from "../image-list.ts";
import { formatDocument, messageJson, outputFormat } from "../output/document.ts";
import { humanSize, shortId } from "../output/human.ts";
import { formatFields, orNone } from "../output/lines.ts";
import { safeText } from "../output/safe-text.ts";
import { formatTable } from "../output/table.ts";

interface ImagesFlags {
  output: string;
  quiet?: boolean;
  verbose?: boolean;
  trunc?: boolean;
  digests?: boolean;
  pinned?: boolean;
  filter?: string[];
}

/** `images`: the list of images. */
export function addImages(program: Command, app: App): void {
  const command = program
    .command("images")
    .aliases(["image", "img"])
    .description("list images, one line for each tag")
    .argument("[name]", "only the image with this name: REPOSITORY[:TAG]")
    .option("--digests", "show the digests")
    .option("--pinned", "show which images are pinned")
    .addOption(
      listOption(
        "-f, --filter <condition>",
        "dangling=true|false, reference=REGEX, before=IMAGE or since=IMAGE (repeatable; before and since mean positions in the sorted list)",
      ),
    )
    .option("-o, --output <format>", "table, json or yaml", "table")
    .option("-q, --quiet", "only the ids")
    .option("-v, --verbose", "every image in full")
    .option("--no-trunc", "ids and digests in full")
    .action((name: string | undefined, flags: ImagesFlags) =>
      app.run(async (session) => {
        const format = outputFormat(flags.output, ["table", "json", "yaml"]);
        const images = await listImages(session, name ?? "", flags.filter ?? []);
        await session.io.stdout.write(
          format === "table"
            ? formatImages(images, flags)
            : formatDocument({ images: images.map((one) => messageJson("Image", one)) }, format),
        );
      }),
    );
  addExamples(command, [
    ["keelctl images --digests", "all of them, with digests"],
    ["keelctl images -f dangling=true -q", "the ids of images without a tag"],
  ]);
}

function formatImages(images: Image[], flags: ImagesFlags): string {
  if (flags.quiet === true) return images.map((image) => `${safeText(image.id)}\n`).join("");
  if (flags.verbose === true) return images.map(formatImage).join("");
  const only = <T>(isWanted: boolean | undefined, cell: T) => (isWanted === true ? [cell] : []);
  const rows = images.flatMap((image) => {
    const { digest } = splitDigest(image);
    const cut = flags.trunc === false ? (text: string) => text : shortId;
    return splitTags(image).map(({ name, tag }) => [
      name,
      tag,
      ...only(flags.digests, cut(digest)),
      cut(image.id),
      humanSize(image.size),
      ...only(flags.pinned, String(image.pinned)),
    ]);
  });
  return formatTable(
    ["IMAGE", "TAG", ...only(flags.digests, "DIGEST"), "IMAGE ID", "SIZE", ...only(flags.pinned, "PINNED")],
    rows,
  );
}

function formatImage(image: Image): string {
  const fields = formatFields([
    ["ID", image.id],
    ...image.repoTags.map((tag) => ["RepoTags", tag] as const),
    ...image.repoDigests.map((digest) => ["RepoDigests", digest] as const),
    ["Size", image.size === 0n ? undefined : String(image.size)],
    // As Go prints a message with one number.
    ["Uid", image.uid === undefined ? undefined : image.uid.value === 0n ? "" : `value:${image.uid.value}`],
    ["Username", orNone(image.username)],
    ["Pinned", image.pinned ? "true" : undefined],
  ]);
  return `${fields}\n`;
}
