import type { Command } from "commander";
import { type DocumentFormat, formatDocument, type Json, outputFormat } from "../output/document.ts";
import { watch } from "../output/watch.ts";
import type { Session } from "../session.ts";
import { parseSampleMs } from "./sample-time.ts";

/** The flags that `stats` and `statsp` have in common. */
export interface StatsViewFlags {
  output: string;
  seconds: string;
  watch?: boolean;
  trunc?: boolean;
}

/** How the stats of containers or pods are measured and shown. */
export interface StatsView<S> {
  /** Measures; in the order of display. */
  list(): Promise<S[]>;
  /** CPU is measured from `before` to `now`; what is not in `before` has none. */
  table(before: readonly S[], now: readonly S[]): string;
  json(stats: S): Json;
}

export function addStatsViewOptions(command: Command): Command {
  return command
    .option("-o, --output <format>", "table, json or yaml", "table")
    .option("-s, --seconds <seconds>", "the time over which CPU is measured, and between two views of -w", "1")
    .option("-w, --watch", "repeat until interrupted")
    .option("--no-trunc", "ids in full")
    .option("--template <text>", "refused: keelctl has no Go templates");
}

/** Shows stats once or repeatedly. Throws InvalidArgument for a wrong flag before anything is measured. */
export async function showStats<S>(session: Session, flags: StatsViewFlags, view: StatsView<S>): Promise<void> {
  const format = outputFormat(flags.output, ["table", "json", "yaml"]);
  const everyMs = parseSampleMs(flags.seconds);
  if (flags.watch !== true) return await session.io.stdout.write(await oneView(session, view, format, everyMs));
  let before: S[] = [];
  await watch(session.io, everyMs, async () => {
    const now = await view.list();
    const text = format === "table" ? view.table(before, now) : documentOf(view, now, format);
    before = now;
    return text;
  });
}

async function oneView<S>(
  session: Session,
  view: StatsView<S>,
  format: "table" | DocumentFormat,
  everyMs: number,
): Promise<string> {
  const first = await view.list();
  if (format !== "table") return documentOf(view, first, format);
  if (first.length > 0) await session.io.sleep(everyMs, session.io.signal);
  return view.table(first, first.length > 0 ? await view.list() : []);
}

function documentOf<S>(view: StatsView<S>, stats: readonly S[], format: DocumentFormat): string {
  return formatDocument({ stats: stats.map((one) => view.json(one)) }, format);
}
