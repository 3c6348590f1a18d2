import { Code, StatusError } from "@keelson/base/status.ts";
import { ImageStatusRequest, type ImageStatusResponse } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, listOption } from "../flags.ts";
import { listImages } from "../image-list.ts";
import { note } from "../io.ts";
import { messageJson, outputFormat } from "../output/document.ts";
import { humanSize } from "../output/human.ts";
import { formatFields, formatInfo } from "../output/lines.ts";
import type { Session } from "../session.ts";
import { formatStatuses } from "../status-document.ts";

interface InspectiFlags {
  output: string;
  quiet?: boolean;
  name?: string;
  filter?: string[];
}

/** `inspecti`: images in full. */
export function addInspecti(program: Command, app: App): void {
  const command = program
    .command("inspecti")
    .description("show images in full; without names those that the flags choose")
    .argument("[images...]", "names or ids")
    .option("--name <name>", "the image with this name")
    .addOption(listOption("-f, --filter <condition>", "as for `images` (repeatable)"))
    .option("-o, --output <format>", "json, yaml or table", "json")
    .option("-q, --quiet", "leave out the runtime's verbose information")
    .option("--template <text>", "refused: keelctl has no Go templates")
    .action((names: string[], flags: InspectiFlags) =>
      app.run(async (session) => {
        const format = outputFormat(flags.output, ["json", "yaml", "table"]);
        const wanted =
          names.length > 0
            ? names
            : (await listImages(session, flags.name ?? "", flags.filter ?? [])).map((image) => image.id);
        if (wanted.length === 0) return note(session.io, "no image matches");
        const isVerbose = flags.quiet !== true;
        const responses: ImageStatusResponse[] = [];
        for (const name of wanted) responses.push(await statusOf(session, name, isVerbose));
        const text =
          format === "table"
            ? responses.map((one) => formatImageStatus(one, isVerbose)).join("")
            : formatStatuses(
                responses.map(({ image, info }) => ({ status: messageJson("Image", image!), info })),
                format,
              );
        return session.io.stdout.write(text);
      }),
    );
  addExamples(command, [["keelctl inspecti busybox:1.36 | jq .info.imageSpec.config", "what the image runs"]]);
}

async function statusOf(session: Session, name: string, isVerbose: boolean): Promise<ImageStatusResponse> {
  const response = await session.image.call(
    "imageStatus",
    ImageStatusRequest.fromPartial({ image: { image: name }, verbose: isVerbose }),
  );
  if (response.image === undefined)
    throw new StatusError(Code.NotFound, `there is no image ${name}; \`keelctl images\` lists them`);
  return response;
}

function formatImageStatus({ image, info }: ImageStatusResponse, isVerbose: boolean): string {
  const fields = formatFields([
    ["ID", image!.id],
    ...image!.repoTags.map((tag) => ["Tag", tag] as const),
    ...image!.repoDigests.map((digest) => ["Digest", digest] as const),
    ["Size", humanSize(image!.size)],
  ]);
  return `${fields}${isVerbose ? formatInfo(info) : ""}`;
}
