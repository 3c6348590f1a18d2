import {
  ContainerState,
  ListContainersRequest,
  type PodSandbox,
  PodSandboxState,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, addPodSelection } from "../flags.ts";
import { formatDocument, messageJson, outputFormat } from "../output/document.ts";
import { humanAge, shortId } from "../output/human.ts";
import { formatFields, formatMap, orNone } from "../output/lines.ts";
import { safeText } from "../output/safe-text.ts";
import { formatTable } from "../output/table.ts";
import { goTime } from "../output/time.ts";
import { type PodSelection, selectPods } from "../select.ts";
import type { Session } from "../session.ts";
import { handlerText, type PodDetails, podDetails } from "../wide.ts";

interface PodsFlags extends PodSelection {
  output: string;
  quiet?: boolean;
  verbose?: boolean;
  trunc?: boolean;
}

/** `pods`: the list of pods. */
export function addPods(program: Command, app: App): void {
  const command = program
    .command("pods")
    .description("list pods, newest first")
    .option("--id <id>", "the pod with this id or id prefix")
    .option(
      "-o, --output <format>",
      "table, wide (also the handler that is the default, IP, containers), json or yaml",
      "table",
    )
    .option("-q, --quiet", "only the ids")
    .option("-v, --verbose", "every pod in full")
    .option("--no-trunc", "ids in full")
    .action((flags: PodsFlags) =>
      app.run(async (session) => {
        const format = outputFormat(flags.output, ["table", "wide", "json", "yaml"]);
        const pods = await selectPods(session, flags);
        const wide = format === "wide" ? await wideColumns(session, pods) : undefined;
        const text =
          format === "table" || format === "wide"
            ? formatPods(pods, flags, session.io.now(), wide)
            : formatDocument({ items: pods.map((pod) => messageJson("PodSandbox", pod)) }, format);
        await session.io.stdout.write(text);
      }),
    );
  addExamples(addPodSelection(command), [
    ["keelctl pods", "all of them"],
    ["keelctl pods -o wide", "with their addresses, and how many containers are running"],
    ["keelctl pods --namespace '^kube-' -s notready", "those that are not ready, in some namespaces"],
    ["keelctl rmp -f $(keelctl pods -q --label app=old)", "remove the pods of one application"],
  ]);
}

function formatPods(pods: PodSandbox[], flags: PodsFlags, nowMs: number, wide: WideColumns | undefined): string {
  if (flags.quiet === true) return pods.map((pod) => `${safeText(pod.id)}\n`).join("");
  if (flags.verbose === true) return pods.map(formatPod).join("");
  return formatTable(
    [
      "POD ID",
      "CREATED",
      "STATE",
      "NAME",
      "NAMESPACE",
      "ATTEMPT",
      "RUNTIME",
      ...(wide === undefined ? [] : ["IP", "RUNNING"]),
    ],
    pods.map((pod, i) => [
      flags.trunc === false ? pod.id : shortId(pod.id),
      humanAge(pod.createdAt, nowMs),
      stateText(pod.state),
      pod.metadata?.name ?? "",
      pod.metadata?.namespace ?? "",
      String(pod.metadata?.attempt ?? 0),
      handlerText(pod.runtimeHandler, wide?.details.get(pod.id)),
      ...(wide?.cells[i] ?? []),
    ]),
  );
}

interface WideColumns {
  readonly details: ReadonlyMap<string, PodDetails>;
  /** For each pod its addresses, and how many of its containers are running. */
  readonly cells: readonly (readonly string[])[];
}

async function wideColumns(session: Session, pods: PodSandbox[]): Promise<WideColumns> {
  const [details, { containers }] = await Promise.all([
    podDetails(
      session,
      pods.map((pod) => pod.id),
    ),
    session.runtime.call("listContainers", ListContainersRequest.fromPartial({})),
  ]);
  const cells = pods.map((pod) => {
    const own = containers.filter((one) => one.podSandboxId === pod.id);
    return [
      details.get(pod.id)?.ips || "-",
      `${own.filter((one) => one.state === ContainerState.CONTAINER_RUNNING).length}/${own.length}`,
    ];
  });
  return { details, cells };
}

function formatPod(pod: PodSandbox): string {
  const attempt = pod.metadata?.attempt ?? 0;
  const fields = formatFields([
    ["ID", pod.id],
    ["Name", orNone(pod.metadata?.name)],
    ["UID", orNone(pod.metadata?.uid)],
    ["Namespace", orNone(pod.metadata?.namespace)],
    ["Attempt", attempt === 0 ? undefined : String(attempt)],
    ["Status", stateText(pod.state)],
    ["Created", goTime(pod.createdAt)],
  ]);
  return `${fields}${formatMap("Labels", pod.labels)}${formatMap("Annotations", pod.annotations)}${formatFields([["Runtime", handlerText(pod.runtimeHandler)]])}\n`;
}

function stateText(state: PodSandboxState): string {
  return state === PodSandboxState.SANDBOX_READY ? "Ready" : "NotReady";
}
