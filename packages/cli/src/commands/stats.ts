import {
  type ContainerStats,
  ContainerState,
  ListContainersRequest,
  ListContainerStatsRequest,
} from "@keelson/cri/gen/runtime/v1/api.ts";
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

interface StatsFlags extends StatsViewFlags {
  all?: boolean;
  id?: string;
  pod?: string;
  label?: string[];
}

/** `stats`: what containers use. */
export function addStats(program: Command, app: App): void {
  const command = program
    .command("stats")
    .description("show what containers use; without -a those that are running")
    .argument("[container]", "id or id prefix")
    .option("-a, --all", "containers in every state")
    .option("--id <id>", "the container with this id or id prefix")
    .option("-p, --pod <id>", "containers of this pod")
    .addOption(listOption("--label <key=value>", "containers with this label (repeatable)"));
  addStatsViewOptions(command).action((id: string | undefined, flags: StatsFlags) =>
    app.run(async (session) => {
      const wanted = { ...flags, id: id ?? flags.id ?? "" };
      await showStats(session, flags, {
        list: () => listStats(session, wanted),
        table: (before, now) => statsTable(before, now, wanted),
        json: (one) => messageJson("ContainerStats", one),
      });
    }),
  );
  addExamples(command, [
    ["keelctl stats", "running containers, measured for a second"],
    ["keelctl stats -a -o json", "every number that the runtime reports"],
    ["keelctl stats -w -s 5 -p $POD", "one pod, every 5 seconds"],
  ]);
}

type Wanted = StatsFlags & { id: string };

/** In crictl's order, by id, so that rows stay in place with -w. */
async function listStats({ runtime }: Session, flags: Wanted): Promise<ContainerStats[]> {
  const filter = {
    id: flags.id,
    podSandboxId: flags.pod ?? "",
    labelSelector: parsePairs(flags.label ?? [], "--label"),
  };
  const { stats } = await runtime.call("listContainerStats", ListContainerStatsRequest.fromPartial({ filter }));
  const sorted = stats.toSorted((a, b) => ((a.attributes?.id ?? "") < (b.attributes?.id ?? "") ? -1 : 1));
  if (flags.all === true) return sorted;
  const state = { state: ContainerState.CONTAINER_RUNNING };
  const { containers } = await runtime.call(
    "listContainers",
    ListContainersRequest.fromPartial({ filter: { ...filter, state } }),
  );
  const running = new Set(containers.map((one) => one.id));
  return sorted.filter((one) => running.has(one.attributes?.id ?? ""));
}

function statsTable(before: readonly ContainerStats[], now: readonly ContainerStats[], { trunc }: Wanted): string {
  const earlier = new Map(before.map((one) => [one.attributes?.id, one]));
  return formatTable(
    ["CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP"],
    now.map((one) => [
      trunc === false ? (one.attributes?.id ?? "") : shortId(one.attributes?.id ?? ""),
      one.attributes?.metadata?.name ?? "",
      (cpuPercent(earlier.get(one.attributes?.id)?.cpu, one.cpu) ?? 0).toFixed(2),
      humanSize(one.memory?.workingSetBytes?.value ?? 0n),
      humanSize(one.writableLayer?.usedBytes?.value ?? 0n),
      String(one.writableLayer?.inodesUsed?.value ?? 0n),
      humanSize(one.swap?.swapUsageBytes?.value ?? 0n),
    ]),
  );
}
