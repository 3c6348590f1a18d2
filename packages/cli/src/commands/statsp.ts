import type { Command } from "commander";
import { ListPodSandboxStatsRequest, type PodSandboxStats } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { App } from "../app.ts";
import { addExamples, listOption } from "../flags.ts";
import { type DocumentFormat, formatDocument, messageJson, outputFormat } from "../output/document.ts";
import { humanSize, shortId } from "../output/human.ts";
import { formatTable } from "../output/table.ts";
import { watch } from "../output/watch.ts";
import { parsePairs } from "../select.ts";
import type { Session } from "../session.ts";
import { cpuPercent } from "../stats/cpu-percent.ts";
import { parseSampleMs } from "../stats/sample-time.ts";

interface StatspFlags {
  id?: string;
  label?: string[];
  output: string;
  seconds: string;
  watch?: boolean;
  trunc?: boolean;
}

/** `statsp`: what pods use. */
export function addStatsp(program: Command, app: App): void {
  const command = program
    .command("statsp")
    .description("show what pods use, all their containers together")
    .argument("[pod]", "id or beginning of one")
    .option("--id <id>", "the pod with this id or beginning of one")
    .addOption(listOption("--label <key=value>", "pods with this label (repeatable)"))
    .option("-o, --output <format>", "table, json or yaml", "table")
    .option("-s, --seconds <seconds>", "the time over which CPU is measured, and between two views of -w", "1")
    .option("-w, --watch", "again and again")
    .option("--no-trunc", "ids in full")
    .option("--template <text>", "refused: keelctl has no Go templates")
    .action((id: string | undefined, flags: StatspFlags) =>
      app.run(async (session) => {
        const format = outputFormat(flags.output, ["table", "json", "yaml"]);
        const everyMs = parseSampleMs(flags.seconds);
        const wanted = { ...flags, id: id ?? flags.id ?? "" };
        if (flags.watch === true) await watchStats(session, wanted, format, everyMs);
        else await session.io.stdout.write(await oneView(session, wanted, format, everyMs));
      }),
    );
  addExamples(command, [
    ["keelctl statsp", "all pods, measured for a second"],
    ["keelctl statsp $POD -o json", "with network, processes and each container"],
  ]);
}

type Wanted = StatspFlags & { id: string };

async function oneView(session: Session, flags: Wanted, format: "table" | DocumentFormat, everyMs: number): Promise<string> {
  const first = await listStats(session, flags);
  if (format !== "table") return statsDocument(first, format);
  if (first.length > 0) await session.io.sleep(everyMs, session.io.signal);
  return statsTable(first, first.length > 0 ? await listStats(session, flags) : [], flags);
}

async function watchStats(session: Session, flags: Wanted, format: "table" | DocumentFormat, everyMs: number): Promise<void> {
  let before: PodSandboxStats[] = [];
  await watch(session.io, everyMs, async () => {
    const now = await listStats(session, flags);
    const text = format === "table" ? statsTable(before, now, flags) : statsDocument(now, format);
    before = now;
    return text;
  });
}

async function listStats({ runtime }: Session, flags: Wanted): Promise<PodSandboxStats[]> {
  const filter = { id: flags.id, labelSelector: parsePairs(flags.label ?? [], "--label") };
  const { stats } = await runtime.call("listPodSandboxStats", ListPodSandboxStatsRequest.fromPartial({ filter }));
  return stats.toSorted((a, b) => ((a.attributes?.id ?? "") < (b.attributes?.id ?? "") ? -1 : 1));
}

function statsDocument(stats: PodSandboxStats[], format: DocumentFormat): string {
  return formatDocument({ stats: stats.map((one) => messageJson("PodSandboxStats", one)) }, format);
}

function statsTable(before: PodSandboxStats[], now: PodSandboxStats[], { trunc }: Wanted): string {
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
