import { ListPodSandboxMetricsRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { formatDocument, messageJson, outputFormat } from "../output/document.ts";
import { watch } from "../output/watch.ts";

/** How often -w asks the runtime, in ms. */
const everyMs = 1000;

/** `metricsp`: the metrics of pods, as a kubelet passes them to Prometheus. */
export function addMetricsp(program: Command, app: App): void {
  const command = program
    .command("metricsp")
    .description("show the metrics of all pods and their containers")
    .option("-o, --output <format>", "json or yaml", "json")
    .option("-w, --watch", "repeat every second")
    .action((flags: { output: string; watch?: boolean }) =>
      app.run(async ({ io, runtime }) => {
        const format = outputFormat(flags.output, ["json", "yaml"]);
        const view = async () => {
          const response = await runtime.call("listPodSandboxMetrics", ListPodSandboxMetricsRequest.fromPartial({}));
          return formatDocument(messageJson("ListPodSandboxMetricsResponse", response), format);
        };
        if (flags.watch === true) await watch(io, everyMs, view);
        else await io.stdout.write(await view());
      }),
    );
  addExamples(command, [["keelctl metricsp | jq '.podMetrics[0].metrics'", "those of one pod"]]);
}
