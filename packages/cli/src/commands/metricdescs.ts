import { ListMetricDescriptorsRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { formatDocument, messageJson, outputFormat } from "../output/document.ts";

/** `metricdescs`: the metrics of pods that a runtime has. */
export function addMetricdescs(program: Command, app: App): void {
  const command = program
    .command("metricdescs")
    .description("show the metrics of pods that the runtime has, with their labels")
    .option("-o, --output <format>", "json or yaml", "json")
    .action((flags: { output: string }) =>
      app.run(async ({ io, runtime }) => {
        const format = outputFormat(flags.output, ["json", "yaml"]);
        const response = await runtime.call("listMetricDescriptors", ListMetricDescriptorsRequest.fromPartial({}));
        await io.stdout.write(formatDocument(messageJson("ListMetricDescriptorsResponse", response), format));
      }),
    );
  addExamples(command, [["keelctl metricdescs | jq -r '.descriptors[].name'", "only the names"]]);
}
