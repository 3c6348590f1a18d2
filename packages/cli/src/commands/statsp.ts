import { ListPodSandboxStatsRequest, type PodSandboxStats } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { Command } from "commander";
import type { App } from "../app.ts";
import { addExamples, listOption } from "../flags.ts";
import { messageJson } from "../output/document.ts";
import { humanSize, shortId } from "../output/human.ts";
import { formatTable } from "../output/table.ts";
import { parsePairs } from "../select.ts";
import type { Session } from "../session.ts";
import { cpuPercent } from "../stats/cpu-percent.ts";
import { addStatsViewOptions, showStats, type StatsViewFlags } from "../stats/show-stats.ts";

interface StatspFlags extends StatsViewFlags {
  id?: string;
  label?: string[];
}

/** `statsp`: what pods use. */
export function addStatsp(program: Command, app: App): void {
  const command = program
    .command("statsp")
    .description("show what pods use, all their containers together")
    .argument("[pod]", "id or id prefix")
    .option("--id <id>", "the pod with this id or id prefix")
    .addOption(listOption("--label <key=value>", "pods with this label (repeatable)"));
  addStatsViewOptions(command).action((id: string | undefined, flags: StatspFlags) =>
    app.run(async (session) => {
      const wanted = { ...flags, id: id ?? flags.id ?? "" };
      await showStats(session, flags, {
        list: () => listStats(session, wanted),
        table: (before, now) => statsTable(before, now, wanted),
        json: (one) => messageJson("PodSandboxStats", one),
      });
    }),
  );
  addExamples(command, [
    ["keelctl statsp", "all pods, measured for a second"],
    ["keelctl statsp $POD -o json", "with network, processes and each container"],
  ]);
}

type Wanted = StatspFlags & { id: string };

async function listStats({ runtime }: Session, flags: Wanted): Promise<PodSandboxStats[]> {
  const filter = { id: flags.id, labelSelector: parsePairs(flags.label ?? [], "--label") };
  const { stats } = await runtime.call("listPodSandboxStats", ListPodSandboxStatsRequest.fromPartial({ filter }));
  return stats.toSorted((a, b) => ((a.attributes?.id ?? "") < (b.attributes?.id ?? "") ? -1 : 1));
}

function statsTable(before: readonly PodSandboxStats[], now: readonly PodSandboxStats[], { trunc }: Wanted): string {
  const earlier = new Map(before.map((one) => [one.attributes?.id, one]));
  return formatTable(
    ["POD", "POD ID", "CPU %", "MEM"],
    now.map((one) => [
      one.attributes?.metadata?.name ?? "",
      trunc === false ? (one.attributes?.id ?? "") : shortId(one.attributes?.id ?? ""),
      (cpuPercent(earlier.get(one.attributes?.id)?.linux?.cpu, one.linux?.cpu) ?? 0).toFixed(2),
      humanSize(one.linux?.memory?.workingSetBytes?.value ?? 0n),
    ]),
  );
}
