import { type FilesystemUsage, ImageFsInfoRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { formatDocument, messageJson, outputFormat } from "../output/document.ts";
import { humanSize } from "../output/human.ts";
import { formatFields } from "../output/lines.ts";
import { goTime } from "../output/time.ts";

/** `imagefsinfo`: how much disk images and writable layers use. */
export function addImagefsinfo(program: Command, app: App): void {
  const command = program
    .command("imagefsinfo")
    .description("show how much disk images and writable layers use")
    .option("-o, --output <format>", "json, yaml or table", "json")
    .option("--template <text>", "refused: keelctl has no Go templates")
    .action((flags: { output: string }) =>
      app.run(async ({ io, image }) => {
        const format = outputFormat(flags.output, ["json", "yaml", "table"]);
        const response = await image.call("imageFsInfo", ImageFsInfoRequest.fromPartial({}));
        const text =
          format === "table"
            ? usages("Image Filesystem", response.imageFilesystems) +
              usages("Container Filesystem", response.containerFilesystems)
            : formatDocument(messageJson("ImageFsInfoResponse", response), format);
        await io.stdout.write(text);
      }),
    );
  addExamples(command, [["keelctl imagefsinfo -o table", "for people"]]);
}

function usages(title: string, list: readonly FilesystemUsage[]): string {
  return list
    .map(
      (one) =>
        `${title}\n${formatFields([
          ["TimeStamp", goTime(one.timestamp)],
          ["Disk", humanSize(one.usedBytes?.value ?? 0n)],
          ["Inodes", String(one.inodesUsed?.value ?? 0n)],
          ["Mountpoint", one.fsId?.mountpoint ?? ""],
        ])}`,
    )
    .join("");
}
