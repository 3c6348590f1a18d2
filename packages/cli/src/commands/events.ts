import { Code, StatusError } from "@keelson/base/status.ts";
import { type ContainerEventResponse, GetEventsRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import { enumName } from "@keelson/cri/json.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, listOption } from "../flags.ts";
import { formatDocument, messageJson, outputFormat } from "../output/document.ts";
import { shortId } from "../output/human.ts";
import { safeText } from "../output/safe-text.ts";
import { rfc3339Nano } from "../output/time.ts";
import { pattern } from "../select.ts";
import type { Session } from "../session.ts";
import { parseWhole } from "../settings.ts";

interface EventsFlags {
  output: string;
  type?: string[];
  id?: string;
  pod?: string;
  name?: string;
  namespace?: string;
  last?: string;
}

const types = ["created", "started", "stopped", "deleted"];

/** `events`: what happens to containers and pods. */
export function addEvents(program: Command, app: App): void {
  const command = program
    .command("events")
    .alias("event")
    .description(
      "show what happens to containers and pods until interrupted; keelsond begins with the past events of those that exist",
    )
    .option("-o, --output <format>", "json, yaml or table (a line for each)", "json")
    .addOption(listOption("--type <type>", "only these: created, started, stopped, deleted (repeatable)"))
    .option("--id <id>", "only of the container or pod with this id or id prefix")
    .option("-p, --pod <id>", "only of this pod")
    .option("--name <regex>", "only of containers, or pods themselves, whose name matches")
    .option("--namespace <regex>", "only of pods whose namespace matches")
    .option("-n, --last <count>", "end after this many")
    .option("--template <text>", "refused: keelctl has no Go templates")
    .action((flags: EventsFlags) => app.run((session) => showEvents(session, flags)));
  addExamples(command, [
    ["keelctl events -o table", "a line for each"],
    ["keelctl events --type stopped | jq .containersStatuses[].exitCode", "how containers end"],
    ["keelctl events --namespace '^kube-' -n 1", "until something happens there"],
  ]);
}

async function showEvents({ io, runtime }: Session, flags: EventsFlags): Promise<void> {
  const format = outputFormat(flags.output, ["json", "yaml", "table"]);
  const isWanted = eventFilter(flags);
  const count = flags.last === undefined ? Infinity : parseWhole(flags.last, "--last");
  let shown = 0;
  try {
    for await (const event of runtime.stream("getContainerEvents", GetEventsRequest.fromPartial({}))) {
      if (!isWanted(event)) continue;
      const text =
        format === "table" ? eventLine(event) : formatDocument(messageJson("ContainerEventResponse", event), format);
      await io.stdout.write(format === "yaml" ? `---\n${text}` : text);
      shown += 1;
      if (shown >= count) return;
    }
  } catch (error) {
    // Ctrl-C is the normal way to end this.
    if (io.signal.aborted) return;
    throw error;
  }
  throw new StatusError(
    Code.Unavailable,
    "the runtime ended the stream of events; it may have stopped, or have events disabled",
  );
}

function eventFilter(flags: EventsFlags): (event: ContainerEventResponse) => boolean {
  const wrong = flags.type?.find((type) => !types.includes(type));
  if (wrong !== undefined)
    throw new StatusError(Code.InvalidArgument, `--type ${wrong}: must be one of ${types.join(", ")}`);
  const name = pattern(flags.name, "--name");
  const namespace = pattern(flags.namespace, "--namespace");
  return (event) =>
    (flags.type?.includes(typeOf(event)) ?? true) &&
    event.containerId.startsWith(flags.id ?? "") &&
    (event.podSandboxStatus?.id ?? "").startsWith(flags.pod ?? "") &&
    name.test(nameOf(event)) &&
    namespace.test(event.podSandboxStatus?.metadata?.namespace ?? "");
}

function typeOf(event: ContainerEventResponse): string {
  return (
    /^CONTAINER_(\w+)_EVENT$/.exec(enumName("ContainerEventType", event.containerEventType))?.[1]?.toLowerCase() ??
    String(event.containerEventType)
  );
}

/** An event of the pod itself has the pod's id, which is no container's. */
function nameOf(event: ContainerEventResponse): string {
  const container = event.containersStatuses.find((one) => one.id === event.containerId);
  return (
    container?.metadata?.name ??
    (event.podSandboxStatus?.id === event.containerId ? (event.podSandboxStatus.metadata?.name ?? "") : "")
  );
}

function eventLine(event: ContainerEventResponse): string {
  const { podSandboxStatus: pod } = event;
  const isPod = pod?.id === event.containerId;
  const place = `${pod?.metadata?.namespace ?? ""}/${pod?.metadata?.name ?? ""}`;
  const what = isPod ? `pod ${place}` : `container ${nameOf(event) || "(gone)"} of ${place}`;
  return `${rfc3339Nano(event.createdAt)}  ${typeOf(event).padEnd(7)}  ${shortId(event.containerId)}  ${safeText(what)}\n`;
}
