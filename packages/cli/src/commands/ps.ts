import { type Container, ContainerState, ImageStatusRequest } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addContainerSelection, addExamples } from "../flags.ts";
import { formatDocument, messageJson, outputFormat } from "../output/document.ts";
import { humanAge, humanSize, shortId } from "../output/human.ts";
import { formatFields, formatMap, orNone } from "../output/lines.ts";
import { safeText } from "../output/safe-text.ts";
import { formatTable } from "../output/table.ts";
import { type ContainerSelection, podLabel, selectContainers, selectPods } from "../select.ts";
import type { Session } from "../session.ts";
import { containerStatuses, handlerText, podDetails } from "../wide.ts";

interface PsFlags extends ContainerSelection {
  output: string;
  quiet?: boolean;
  verbose?: boolean;
  trunc?: boolean;
  resolveImagePath?: boolean;
}

/** `ps`: the list of containers. */
export function addPs(program: Command, app: App): void {
  const command = program
    .command("ps")
    .description("list containers, newest first; without other flags those that are running")
    .option("-a, --all", "containers in every state")
    .option("--id <id>", "the container with this id or id prefix")
    .option("--namespace <regex>", "containers of pods whose namespace matches")
    .option(
      "-o, --output <format>",
      "table, wide (IP, exit code, memory limit, restarts, handler too), json or yaml",
      "table",
    )
    .option("-q, --quiet", "only the ids")
    .option("-v, --verbose", "every container in full")
    .option("-r, --resolve-image-path", "show an image by its name where the list has its id")
    .option("--no-trunc", "ids in full")
    .action((flags: PsFlags) =>
      app.run(async (session) => {
        const format = outputFormat(flags.output, ["table", "wide", "json", "yaml"]);
        const containers = await selectContainers(session, flags);
        if (format === "table" || format === "wide")
          await session.io.stdout.write(await formatContainers(session, containers, flags, format === "wide"));
        else
          await session.io.stdout.write(
            formatDocument({ containers: containers.map((one) => messageJson("Container", one)) }, format),
          );
      }),
    );
  addExamples(addContainerSelection(command), [
    ["keelctl ps -a", "all of them"],
    ["keelctl ps -a -o wide", "with how they ended, and their pods' addresses"],
    ["keelctl ps --name '^web' -o json", "by name, for a script"],
    ["keelctl logs $(keelctl ps -lq)", "the log of the newest one"],
  ]);
}

async function formatContainers(
  session: Session,
  containers: Container[],
  flags: PsFlags,
  isWide: boolean,
): Promise<string> {
  const nowMs = session.io.now();
  if (flags.quiet === true) return containers.map((one) => `${safeText(one.id)}\n`).join("");
  if (flags.verbose === true) return containers.map((one) => formatContainer(one, nowMs)).join("");
  const images = await Promise.all(containers.map((one) => imageText(session, one, flags)));
  const more = isWide ? await wideCells(session, containers) : [];
  return formatTable(
    [
      "CONTAINER",
      "IMAGE",
      "CREATED",
      "STATE",
      "NAME",
      "ATTEMPT",
      "POD ID",
      "POD",
      "NAMESPACE",
      ...(isWide ? wideTitles : []),
    ],
    containers.map((one, i) => [
      flags.trunc === false ? one.id : shortId(one.id),
      images[i]!,
      humanAge(one.createdAt, nowMs),
      stateText(one.state),
      one.metadata?.name ?? "",
      String(one.metadata?.attempt ?? 0),
      flags.trunc === false ? one.podSandboxId : shortId(one.podSandboxId),
      podLabel(one, "name"),
      podLabel(one, "namespace"),
      ...(more[i] ?? []),
    ]),
  );
}

const wideTitles = ["IP", "EXIT CODE", "MEM LIMIT", "RESTARTS", "HANDLER"];

async function wideCells(session: Session, containers: Container[]): Promise<string[][]> {
  const [statuses, details, pods] = await Promise.all([
    containerStatuses(
      session,
      containers.map((one) => one.id),
    ),
    podDetails(
      session,
      containers.map((one) => one.podSandboxId),
    ),
    selectPods(session, {}),
  ]);
  const handlers = new Map(pods.map((pod) => [pod.id, pod.runtimeHandler]));
  return containers.map((one) => {
    const status = statuses.get(one.id);
    const limit = status?.resources?.linux?.memoryLimitInBytes ?? 0n;
    return [
      details.get(one.podSandboxId)?.ips || "-",
      status?.state === ContainerState.CONTAINER_EXITED ? String(status.exitCode) : "-",
      limit > 0n ? humanSize(limit) : "-",
      String(one.metadata?.attempt ?? 0),
      handlerText(handlers.get(one.podSandboxId) ?? "", details.get(one.podSandboxId)),
    ];
  });
}

/** A kubelet creates containers by image id; only an id is shortened, or looked up. */
async function imageText(session: Session, container: Container, flags: PsFlags): Promise<string> {
  const image = container.image?.image ?? "";
  if (flags.resolveImagePath === true) {
    const { image: found } = await session.image.call(
      "imageStatus",
      ImageStatusRequest.fromPartial({ image: { image } }),
    );
    const tag = found?.repoTags[0];
    if (tag !== undefined) return tag;
  }
  return flags.trunc === false || !/^sha256:[0-9a-f]{64}$/.test(image) ? image : shortId(image);
}

function formatContainer(one: Container, nowMs: number): string {
  const fields = formatFields([
    ["ID", one.id],
    ["PodID", one.podSandboxId],
    ["Namespace", podLabel(one, "namespace")],
    ["Name", orNone(one.metadata?.name)],
    ["Attempt", one.metadata === undefined ? undefined : String(one.metadata.attempt)],
    ["State", stateText(one.state)],
    ["Image", one.image?.image],
    ["Created", humanAge(one.createdAt, nowMs)],
  ]);
  return `${fields}${formatMap("Labels", one.labels)}${formatMap("Annotations", one.annotations)}\n`;
}

function stateText(state: ContainerState): string {
  switch (state) {
    case ContainerState.CONTAINER_CREATED:
      return "Created";
    case ContainerState.CONTAINER_RUNNING:
      return "Running";
    case ContainerState.CONTAINER_EXITED:
      return "Exited";
    case ContainerState.CONTAINER_UNKNOWN:
      return "Unknown";
    default:
      return String(state);
  }
}
