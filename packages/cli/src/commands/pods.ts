import type { Command } from "commander";
import { type PodSandbox, PodSandboxState } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { App } from "../app.ts";
import { addExamples, addPodSelection } from "../flags.ts";
import { formatDocument, messageJson, outputFormat } from "../output/document.ts";
import { humanAge, shortId } from "../output/human.ts";
import { formatFields, formatMap, orNone } from "../output/lines.ts";
import { safeText } from "../output/safe-text.ts";
import { formatTable } from "../output/table.ts";
import { goTime } from "../output/time.ts";
import { type PodSelection, selectPods } from "../select.ts";

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
    .option("--id <id>", "the pod with this id or beginning of one")
    .option("-o, --output <format>", "table, json or yaml", "table")
    .option("-q, --quiet", "only the ids")
    .option("-v, --verbose", "every pod in full")
    .option("--no-trunc", "ids in full")
    .action((flags: PodsFlags) =>
      app.run(async (session) => {
        const format = outputFormat(flags.output, ["table", "json", "yaml"]);
        const pods = await selectPods(session, flags);
        const text = format === "table" ? formatPods(pods, flags, session.io.now()) : formatDocument({ items: pods.map((pod) => messageJson("PodSandbox", pod)) }, format);
        await session.io.stdout.write(text);
      }),
    );
  addExamples(addPodSelection(command), [
    ["keelctl pods", "all of them"],
    ["keelctl pods --namespace '^kube-' -s notready", "what is not ready there"],
    ["keelctl rmp -f $(keelctl pods -q --label app=old)", "remove the pods of one application"],
  ]);
}

function formatPods(pods: PodSandbox[], flags: PodsFlags, nowMs: number): string {
  if (flags.quiet === true) return pods.map((pod) => `${safeText(pod.id)}\n`).join("");
  if (flags.verbose === true) return pods.map(formatPod).join("");
  return formatTable(
    ["POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME"],
    pods.map((pod) => [
      flags.trunc === false ? pod.id : shortId(pod.id),
      humanAge(pod.createdAt, nowMs),
      stateText(pod.state),
      pod.metadata?.name ?? "",
      pod.metadata?.namespace ?? "",
      String(pod.metadata?.attempt ?? 0),
      handlerText(pod),
    ]),
  );
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
  return `${fields}${formatMap("Labels", pod.labels)}${formatMap("Annotations", pod.annotations)}${formatFields([["Runtime", handlerText(pod)]])}\n`;
}

function stateText(state: PodSandboxState): string {
  return state === PodSandboxState.SANDBOX_READY ? "Ready" : "NotReady";
}

function handlerText(pod: PodSandbox): string {
  return pod.runtimeHandler === "" ? "(default)" : pod.runtimeHandler;
}
