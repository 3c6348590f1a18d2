import { type StatusResponse, StatusRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { fieldsOf } from "@keelson/cri/json.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples } from "../flags.ts";
import { type Json, messageJson, outputFormat } from "../output/document.ts";
import { formatStatuses } from "../status-document.ts";

interface InfoFlags {
  output: string;
  quiet?: boolean;
}

/** `info`: the runtime's conditions, handlers, features and whatever else it reports. */
export function addInfo(program: Command, app: App): void {
  const command = program
    .command("info")
    .description("show whether the runtime and its network are ready, and what the runtime can do")
    .option("-o, --output <format>", "json or yaml", "json")
    .option("-q, --quiet", "leave out the runtime's verbose information")
    .option("--template <text>", "refused: keelctl has no Go templates")
    .action((flags: InfoFlags) =>
      app.run(async ({ io, runtime }) => {
        const format = outputFormat(flags.output, ["json", "yaml"]);
        const response = await runtime.call("status", StatusRequest.fromPartial({ verbose: flags.quiet !== true }));
        const status = messageJson("RuntimeStatus", response.status ?? {});
        await io.stdout.write(formatStatuses([{ status, info: response.info, more: capabilities(response) }], format));
      }),
    );
  addExamples(command, [
    ["keelctl info -q", "only the conditions, handlers and features"],
    ["keelctl info -o yaml", "everything, as YAML"],
  ]);
}

/** crictl prints these two in snake case, without values that are false and without what the runtime did not send. */
function capabilities({ runtimeHandlers, features }: StatusResponse): { [key: string]: Json } {
  return {
    ...(runtimeHandlers.length === 0
      ? {}
      : { runtimeHandlers: runtimeHandlers.map((one) => setFields("RuntimeHandler", one)) }),
    ...(features === undefined ? {} : { features: setFields("RuntimeFeatures", features) }),
  };
}

function setFields(type: string, message: object): { [key: string]: Json } {
  const values = message as Record<string, unknown>;
  const fields = fieldsOf(type).filter((field) => Boolean(values[field.key]));
  return Object.fromEntries(
    fields.map((field) => [
      field.name,
      field.kind === "message" ? setFields(field.of!, values[field.key] as object) : (values[field.key] as Json),
    ]),
  );
}
