import {
  type PodSandboxStatus,
  PodSandboxStatusRequest,
  type PodSandboxStatusResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { enumName, fieldsOf } from "@keelson/cri/json.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, addPodSelection } from "../flags.ts";
import { note } from "../io.ts";
import { type Json, messageJson, outputFormat } from "../output/document.ts";
import { formatFields, formatInfo, formatMap, orNone } from "../output/lines.ts";
import { goTime, rfc3339Nano } from "../output/time.ts";
import { type PodSelection, selectPods } from "../select.ts";
import { formatStatuses } from "../status-document.ts";

interface InspectpFlags extends PodSelection {
  output: string;
  quiet?: boolean;
}

/** `inspectp`: pods in full. */
export function addInspectp(program: Command, app: App): void {
  const command = program
    .command("inspectp")
    .description("show pods in full; without ids those that the flags choose")
    .argument("[pods...]", "ids or id prefixes")
    .option("-o, --output <format>", "json, yaml or table", "json")
    .option("-q, --quiet", "leave out the runtime's verbose information")
    .option("--template <text>", "refused: keelctl has no Go templates")
    .action((ids: string[], flags: InspectpFlags) =>
      app.run(async (session) => {
        const format = outputFormat(flags.output, ["json", "yaml", "table"]);
        const wanted = ids.length > 0 ? ids : (await selectPods(session, flags)).map((pod) => pod.id);
        if (wanted.length === 0) return note(session.io, "no pod matches");
        const isVerbose = flags.quiet !== true;
        const responses: PodSandboxStatusResponse[] = [];
        for (const id of wanted)
          responses.push(
            await session.runtime.call(
              "podSandboxStatus",
              PodSandboxStatusRequest.fromPartial({ podSandboxId: id, verbose: isVerbose }),
            ),
          );
        const text =
          format === "table"
            ? responses.map((one) => formatPodStatus(one, isVerbose)).join("")
            : formatStatuses(
                responses.map(({ status, info }) => ({ status: statusJson(status), info })),
                format,
              );
        return session.io.stdout.write(text);
      }),
    );
  addExamples(addPodSelection(command), [["keelctl inspectp $POD | jq -r .status.network.ip", "the pod's address"]]);
}

/** The status as crictl prints it: the time as text, unset fields as null. */
function statusJson(status: PodSandboxStatus | undefined): { [key: string]: Json } {
  if (status === undefined) return {};
  return {
    ...Object.fromEntries(fieldsOf("PodSandboxStatus").map((field) => [field.key, null])),
    ...messageJson("PodSandboxStatus", status),
    createdAt: rfc3339Nano(status.createdAt),
  };
}

function formatPodStatus({ status, info }: PodSandboxStatusResponse, isVerbose: boolean): string {
  if (status === undefined) return "";
  const fields = formatFields([
    ["ID", status.id],
    ["Name", orNone(status.metadata?.name)],
    ["UID", orNone(status.metadata?.uid)],
    ["Namespace", orNone(status.metadata?.namespace)],
    ["Attempt", status.metadata === undefined ? undefined : String(status.metadata.attempt)],
    ["Status", enumName("PodSandboxState", status.state)],
    ["Created", goTime(status.createdAt)],
    ["IP Addresses", status.network?.ip],
    ...(status.network?.additionalIps ?? []).map(({ ip }) => ["Additional IP", ip] as const),
  ]);
  return `${fields}${formatMap("Labels", status.labels)}${formatMap("Annotations", status.annotations)}${isVerbose ? formatInfo(info) : ""}`;
}
