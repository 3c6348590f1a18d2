import { Code, StatusError } from "@keelson/base/status.ts";
import { PodSandboxStatusRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { formatDocument, type Json, outputFormat } from "../output/document.ts";
import type { Session } from "../session.ts";
import { waterfallHtml } from "../trace/html.ts";
import { type Operation, parseTrace } from "../trace/operation.ts";
import { waterfallText } from "../trace/text.ts";
import { startingOperations, waterfall } from "../trace/waterfall.ts";

interface TraceFlags {
  output: string;
  all?: boolean;
}

/** `trace`: what a pod's start spent its time on. */
export function addTrace(program: Command, app: App): void {
  const command = program
    .command("trace")
    .description("show how a pod came up: how long each call and each of its stages took")
    .argument("<pod>", "id or id prefix")
    .option("-a, --all", "also what was done with the pod later: stops, removals, …")
    .option("-o, --output <format>", "text, json, or html for one file that a browser shows", "text")
    .action((id: string, flags: TraceFlags) => app.run((session) => trace(session, id, flags)));
  addExamples(command, [
    ["keelctl trace $POD", "the waterfall"],
    ["keelctl trace -o html $POD > pod.html", "to share"],
    ["keelctl trace -o json $POD | jq '.[] | [.call, .name, .durationMs]'", "for a script"],
  ]);
}

async function trace({ io, runtime }: Session, id: string, flags: TraceFlags): Promise<void> {
  const format = outputFormat(flags.output, ["text", "json", "html"]);
  const { status, info } = await runtime.call(
    "podSandboxStatus",
    PodSandboxStatusRequest.fromPartial({ podSandboxId: id, verbose: true }),
  );
  const operations = parseTrace(info["trace"]);
  if (operations === undefined)
    throw new StatusError(Code.Unimplemented, "this runtime does not report how its pods came up; keelsond does");
  const shown = flags.all === true ? operations : startingOperations(operations);
  if (format === "json") {
    await io.stdout.write(formatDocument(shown.map(operationJson), "json"));
    return;
  }
  if (shown.length === 0)
    throw new StatusError(
      Code.NotFound,
      `pod ${id}: the runtime remembers nothing of its start; it was restarted since, or has been busy with too much else`,
    );
  const parts = waterfall(shown);
  const title = `${status?.metadata?.namespace ?? ""}/${status?.metadata?.name ?? ""} (${status?.id ?? id})`;
  await io.stdout.write(format === "html" ? waterfallHtml(title, parts) : waterfallText(parts, io.stdout.columns));
}

/** As the runtime gave it: times that do not fit into a number are text. */
function operationJson({ startedAtNs, stages, ...operation }: Operation): Json {
  const set = Object.entries({ ...operation, startedAtNs: String(startedAtNs), stages }).filter(
    ([, value]) => value !== undefined,
  );
  return Object.fromEntries(set) as Json;
}
