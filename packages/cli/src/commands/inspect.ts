import {
  type ContainerStatus,
  ContainerState,
  ContainerStatusRequest,
  type ContainerStatusResponse,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { enumName, fieldsOf } from "@keelson/cri/json.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addContainerSelection, addExamples } from "../flags.ts";
import { note } from "../io.ts";
import { type Json, messageJson, outputFormat } from "../output/document.ts";
import { humanAge } from "../output/human.ts";
import { formatFields, formatInfo, formatMap, orNone } from "../output/lines.ts";
import { rfc3339Nano, zeroTime } from "../output/time.ts";
import { type ContainerSelection, selectContainers } from "../select.ts";
import { formatStatuses } from "../status-document.ts";

interface InspectFlags extends ContainerSelection {
  output: string;
  quiet?: boolean;
}

/** `inspect`: containers in full. */
export function addInspect(program: Command, app: App): void {
  const command = program
    .command("inspect")
    .description("show containers in full; without ids those that the flags choose, or all that are running")
    .argument("[containers...]", "ids or id prefixes")
    .option("-a, --all", "containers in every state")
    .option("--namespace <regex>", "containers of pods whose namespace matches")
    .option("-o, --output <format>", "json, yaml or table", "json")
    .option("-q, --quiet", "leave out the runtime's verbose information")
    .option("--template <text>", "refused: keelctl has no Go templates")
    .action((ids: string[], flags: InspectFlags) =>
      app.run(async (session) => {
        const format = outputFormat(flags.output, ["json", "yaml", "table"]);
        const wanted = ids.length > 0 ? ids : (await selectContainers(session, flags)).map((one) => one.id);
        if (wanted.length === 0) return note(session.io, "no container matches");
        const isVerbose = flags.quiet !== true;
        const responses: ContainerStatusResponse[] = [];
        for (const id of wanted)
          responses.push(
            await session.runtime.call(
              "containerStatus",
              ContainerStatusRequest.fromPartial({ containerId: id, verbose: isVerbose }),
            ),
          );
        const nowMs = session.io.now();
        const text =
          format === "table"
            ? responses.map((one) => formatContainerStatus(one, isVerbose, nowMs)).join("")
            : formatStatuses(
                responses.map(({ status, info }) => ({ status: statusJson(status), info })),
                format,
              );
        return session.io.stdout.write(text);
      }),
    );
  addExamples(addContainerSelection(command), [
    ["keelctl inspect $ID | jq .status.exitCode", "how it ended"],
    ["keelctl inspect -l -o table", "the newest one, for people"],
  ]);
}

/** The status as crictl prints it: times as text, unset fields as null. */
function statusJson(status: ContainerStatus | undefined): { [key: string]: Json } {
  if (status === undefined) return {};
  const hasFinished =
    status.state === ContainerState.CONTAINER_EXITED ||
    (status.state === ContainerState.CONTAINER_UNKNOWN && status.finishedAt > 0n);
  return {
    ...Object.fromEntries(fieldsOf("ContainerStatus").map((field) => [field.key, null])),
    ...messageJson("ContainerStatus", status),
    createdAt: rfc3339Nano(status.createdAt),
    startedAt: status.state === ContainerState.CONTAINER_CREATED ? zeroTime : rfc3339Nano(status.startedAt),
    finishedAt: hasFinished ? rfc3339Nano(status.finishedAt) : zeroTime,
  };
}

function formatContainerStatus({ status, info }: ContainerStatusResponse, isVerbose: boolean, nowMs: number): string {
  if (status === undefined) return "";
  const isExited = status.state === ContainerState.CONTAINER_EXITED;
  const attempt = status.metadata?.attempt ?? 0;
  const fields = formatFields([
    ["ID", status.id],
    ["Name", orNone(status.metadata?.name)],
    ["Attempt", attempt === 0 ? undefined : String(attempt)],
    ["State", enumName("ContainerState", status.state)],
    ["Created", humanAge(status.createdAt, nowMs)],
    ["Started", status.state === ContainerState.CONTAINER_CREATED ? undefined : humanAge(status.startedAt, nowMs)],
    ["Finished", isExited && status.finishedAt > 0n ? humanAge(status.finishedAt, nowMs) : undefined],
    ["Exit Code", isExited ? String(status.exitCode) : undefined],
  ]);
  return `${fields}${formatMap("Labels", status.labels)}${formatMap("Annotations", status.annotations)}${isVerbose ? formatInfo(info) : ""}`;
}
