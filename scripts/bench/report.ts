import type { Burst, ExecSample } from "./execs.ts";
import type { HandlerMemory, HandlersSample } from "./handlers.ts";
import type { HungSample } from "./hung.ts";
import type { MemorySample } from "./memory.ts";
import type { Sample } from "./round.ts";
import { mean, median, quantile } from "./statistics.ts";
import { type ListName, listNames, type ListTurn, type StatsSample } from "./stats.ts";
import type { StreamSample } from "./streams.ts";

/** All samples of one side. */
export interface SideResult {
  readonly name: string;
  readonly runs: string;
  readonly samples: ReadonlyMap<string, readonly Sample[]>;
  readonly memory: readonly MemorySample[];
  readonly execs: readonly ExecSample[];
  /** Undefined if it was not measured. */
  readonly stats: StatsSample | undefined;
  readonly streams: readonly StreamSample[];
  /** Only keelsond has it. */
  readonly handlers: HandlersSample | undefined;
  readonly hung: HungSample | undefined;
}

/** The limit for the 99th percentile of lists and statuses while containers hang, in ms. */
const hungLimitMs = 20;

/** A number for each side and, with two sides, ours divided by theirs. */
interface Row {
  readonly name: string;
  readonly cells: readonly string[];
}

/** The table of the calls' times: a row for each call, in ms. */
export function timeTable(sides: readonly SideResult[]): string {
  const names = [...new Set(sides.flatMap(({ samples }) => [...samples.keys()]))];
  const hasCpu = sides.some(({ samples }) => [...samples.values()].flat().some(({ cpuMs }) => !Number.isNaN(cpuMs)));
  const head = ["median", "p90"];
  const columns = [
    ...sides.flatMap(({ name }) => head.map((text) => `${name} ${text}`)),
    ...(sides.length === 2 ? ["ours/theirs"] : []),
    ...(hasCpu ? sides.map(({ name }) => `${name} CPU`) : []),
    ...(hasCpu && sides.length === 2 ? ["ours/theirs"] : []),
  ];
  const rows = names.map((name): Row => {
    const each = sides.map(({ samples }) => samples.get(name) ?? []);
    const ms = each.map((samples) => samples.map((sample) => sample.ms));
    const medians = ms.map(median);
    const cpu = each.map((samples) => mean(samples.map((sample) => sample.cpuMs)));
    return {
      name,
      cells: [
        ...ms.flatMap((values) => [number(median(values)), number(quantile(values, 0.9))]),
        ...ratioCell(medians),
        ...(hasCpu ? [...cpu.map(number), ...ratioCell(cpu)] : []),
      ],
    };
  });
  return table(columns, rows);
}

/** The table of the memory of pods and daemons: the median of the turns. */
export function memoryTable(sides: readonly SideResult[], pods: number): string {
  const of = (pick: (sample: MemorySample) => number) => sides.map(({ memory }) => median(memory.map(pick)) / 1024);
  const total = ({ helpersPssKiB }: MemorySample) => [...helpersPssKiB.values()].reduce((sum, kib) => sum + kib, 0);
  const helpers = [
    ...new Set(sides.flatMap(({ memory }) => memory.flatMap(({ helpersPssKiB }) => [...helpersPssKiB.keys()]))),
  ].sort();
  const row = (name: string, values: readonly number[]): Row => ({
    name,
    cells: [...values.map((mib) => (mib === 0 || Number.isNaN(mib) ? "-" : mib.toFixed(2))), ...ratioCell(values)],
  });
  const rows = [
    row(
      "MemAvailable for each pod",
      of((sample) => sample.availableKiB),
    ),
    row(
      "cgroups for each pod",
      of((sample) => sample.cgroupKiB),
    ),
    row("helpers' PSS for each pod", of(total)),
    ...helpers.map((name) =>
      row(
        `  ${name}`,
        of((sample) => sample.helpersPssKiB.get(name) ?? 0),
      ),
    ),
    row(
      `daemon's RSS with ${pods} pods`,
      of((sample) => sample.daemonRssKiB),
    ),
  ];
  return table([...sides.map(({ name }) => name), ...(sides.length === 2 ? ["ours/theirs"] : [])], rows);
}

/** The table of ExecSync: times of all turns together, of other figures the median of the turns. */
export function execTable(sides: readonly SideResult[]): string {
  const row = (name: string, of: (execs: readonly ExecSample[]) => number): Row => {
    const values = sides.map(({ execs }) => of(execs));
    return { name, cells: [...values.map(number), ...ratioCell(values)] };
  };
  const rowsOf = (pick: (sample: ExecSample) => Burst): Row[] => {
    const times = (execs: readonly ExecSample[]) => execs.flatMap((sample) => pick(sample).ms);
    const each = (of: (burst: Burst) => number) => (execs: readonly ExecSample[]) =>
      median(execs.map((sample) => of(pick(sample))));
    return [
      row("  median, ms", (execs) => median(times(execs))),
      row("  p90, ms", (execs) => quantile(times(execs), 0.9)),
      row(
        "  execs a second",
        each(({ ms, wallMs }) => (1000 * ms.length) / wallMs),
      ),
      row(
        "  CPU for each, ms",
        each(({ userMs, systemMs }) => userMs + systemMs),
      ),
      row(
        "    user",
        each(({ userMs }) => userMs),
      ),
      row(
        "    system",
        each(({ systemMs }) => systemMs),
      ),
      row(
        "    of both the daemon's",
        each(({ daemonMs }) => daemonMs),
      ),
    ];
  };
  const head = (name: string): Row => ({ name, cells: [] });
  const rows = [
    head("one after another"),
    ...rowsOf((sample) => sample.oneByOne),
    head("ten at a time"),
    ...rowsOf((sample) => sample.tenAtATime),
    row("daemon's RSS then, MiB", (execs) => median(execs.map(({ daemonRssKiB }) => daemonRssKiB)) / 1024),
  ];
  return table([...sides.map(({ name }) => name), ...(sides.length === 2 ? ["ours/theirs"] : [])], rows);
}

/** The table of lists and stats: times of all turns together, of other figures the median of the turns. */
export function statsTable(sides: readonly SideResult[]): string {
  const row = (name: string, values: readonly number[]): Row => ({
    name,
    cells: [...values.map(number), ...ratioCell(values)],
  });
  const rowsOf = (name: ListName): Row[] => {
    const turns = sides.map(({ stats }) => stats?.lists.get(name) ?? []);
    const times = turns.map((each) => each.flatMap(({ ms }) => ms));
    const ofTurns = (of: (turn: ListTurn) => number) => turns.map((each) => median(each.map(of)));
    const missing = sides.filter((_, index) => turns[index]?.length === 0).map((side) => side.name);
    return [
      { name: missing.length === 0 ? name : `${name}, which ${missing.join(" and ")} does not have`, cells: [] },
      row("  median, ms", times.map(median)),
      row(
        "  p90, ms",
        times.map((ms) => quantile(ms, 0.9)),
      ),
      row(
        "  answer, KiB",
        ofTurns(({ bytes }) => bytes / 1024),
      ),
      row(
        "  CPU for each, ms",
        ofTurns(({ sideMs }) => sideMs),
      ),
      row(
        "    of it the daemon's",
        ofTurns(({ daemonMs }) => daemonMs),
      ),
    ];
  };
  const polls = sides.map(({ stats }) => stats?.poll);
  const rows: Row[] = [
    ...listNames.flatMap(rowsOf),
    { name: "asked as a kubelet asks", cells: [] },
    row(
      "  CPU a second, ms",
      polls.map((poll) => poll?.sideMs ?? Number.NaN),
    ),
    row(
      "    of it the daemon's",
      polls.map((poll) => poll?.daemonMs ?? Number.NaN),
    ),
    row(
      "  daemon's RSS then, MiB",
      polls.map((poll) => (poll?.daemonRssKiB ?? Number.NaN) / 1024),
    ),
  ];
  return table([...sides.map(({ name }) => name), ...(sides.length === 2 ? ["ours/theirs"] : [])], rows);
}

/**
 * The table of streams' throughput, and of the daemon's answers meanwhile: times of all turns together, of other
 * figures the median of the turns.
 */
export function streamTable(sides: readonly SideResult[]): string {
  const row = (name: string, of: (streams: readonly StreamSample[]) => number): Row => {
    const values = sides.map(({ streams }) => of(streams));
    return { name, cells: [...values.map(number), ...ratioCell(values)] };
  };
  const speeds = [
    ...new Set(
      sides.flatMap(({ streams }) => streams.flatMap(({ megabytesPerSecond }) => [...megabytesPerSecond.keys()])),
    ),
  ];
  const calls = [...new Set(sides.flatMap(({ streams }) => streams.flatMap(({ calm }) => [...calm.keys()])))];
  const callRows = (when: string, times: (sample: StreamSample) => ReadonlyMap<string, readonly number[]>): Row[] =>
    calls.flatMap((name) =>
      (
        [
          ["p50", 0.5],
          ["p99", 0.99],
        ] as const
      ).map(([label, fraction]) =>
        row(`  ${name} ${label}, ${when}`, (streams) =>
          quantile(
            streams.flatMap((sample) => times(sample).get(name) ?? []),
            fraction,
          ),
        ),
      ),
    );
  const rows = [
    { name: "MB a second, larger is better", cells: [] },
    ...speeds.map((name) =>
      row(`  ${name}`, (streams) =>
        median(streams.flatMap(({ megabytesPerSecond }) => megabytesPerSecond.get(name) ?? [])),
      ),
    ),
    row("  of ten execs at a time, stdout, SPDY", (streams) =>
      median(streams.map((sample) => sample.floodMegabytesPerSecond)),
    ),
    row("forwarded connections a second", (streams) => median(streams.map((sample) => sample.forwardsPerSecond))),
    { name: "exec of true, SPDY, ms", cells: [] },
    row("  median", (streams) => median(streams.flatMap(({ execMs }) => execMs))),
    row("  p90", (streams) =>
      quantile(
        streams.flatMap(({ execMs }) => execMs),
        0.9,
      ),
    ),
    { name: "gRPC, ms", cells: [] },
    ...callRows("calm", (sample) => sample.calm),
    ...callRows("ten execs flood", (sample) => sample.flooded),
  ];
  return table([...sides.map(({ name }) => name), ...(sides.length === 2 ? ["ours/theirs"] : [])], rows);
}

/** The table of pods of each runtime handler: times of all turns together, of other figures the median of the turns. */
export function handlersTable({ measured, missing }: HandlersSample): string {
  const row = (name: string, of: (handler: HandlersSample["measured"][number]) => number): Row => ({
    name,
    cells: measured.map((handler) => number(of(handler))),
  });
  const calls = [...new Set(measured.flatMap((handler) => [...handler.calls.keys()]))];
  const rowsOf = (name: string): Row[] => {
    const ms = (fraction: number) => (handler: HandlersSample["measured"][number]) =>
      quantile(
        (handler.calls.get(name) ?? []).map((sample) => sample.ms),
        fraction,
      );
    return [
      row(`${name}, median, ms`, ms(0.5)),
      row("  p90", ms(0.9)),
      row("  CPU", (handler) => mean((handler.calls.get(name) ?? []).map(({ cpuMs }) => cpuMs))),
    ];
  };
  const mib = (name: string, of: (memory: HandlerMemory) => number): Row =>
    row(name, ({ memory }) => median(memory.map(of)) / 1024);
  const processes = [
    ...new Set(measured.flatMap(({ memory }) => memory.flatMap(({ pssKiB }) => [...pssKiB.keys()]))),
  ].sort();
  const total = ({ pssKiB }: HandlerMemory) => [...pssKiB.values()].reduce((sum, kib) => sum + kib, 0);
  const rows = [
    ...calls.flatMap(rowsOf),
    row("log, MB a second", ({ logMegabytesPerSecond }) => median(logMegabytesPerSecond)),
    { name: "memory for each pod, MiB", cells: [] },
    mib("  MemAvailable", (memory) => memory.availableKiB),
    mib("  cgroups, without the daemon", (memory) => memory.cgroupKiB),
    mib("  PSS of its processes", total),
    ...processes.map((name) => mib(`    ${name}`, ({ pssKiB }) => pssKiB.get(name) ?? Number.NaN)),
  ];
  const notes = [
    ...measured.map(({ name, what }) => `${name}: ${what}`),
    ...missing.map(({ name, problem }) => `${name} was not measured: ${problem}`),
  ];
  return [
    table(
      measured.map(({ name }) => name),
      rows,
    ),
    "",
    ...notes.map((note) => `  ${note}`),
  ].join("\n");
}

/** The table of one side's answers while containers hang, in ms, and of what hung. */
export function hungTable({ calm, hung, hangs, attempts, waiting, left }: HungSample): string {
  const columns = ["calls made", "calm p99", "median", "p90", "p99", "max", `under ${hungLimitMs}ms`];
  const rows = [...hung].map(([name, ms]): Row => {
    const p99 = quantile(ms, 0.99);
    const figures = [quantile(calm.get(name) ?? [], 0.99), median(ms), quantile(ms, 0.9), p99, Math.max(...ms)];
    return { name, cells: [String(ms.length), ...figures.map(number), p99 < hungLimitMs ? "yes" : "no"] };
  });
  const ways = hangs.map(({ what, count, of }) => `${what} ${count} of ${of}`).join(", ");
  const notes = [
    `hung to the end: ${ways}; ${attempts} calls were made on them, ${waiting} were waiting at the end`,
    ...left.map((sentence) => `still there: ${sentence}`),
  ];
  return [table(columns, rows), ...notes.map((note) => `  ${note}`)].join("\n");
}

/** Every figure, for a program to read. Times are in ms, memory in KiB. */
export function asJson(sides: readonly SideResult[], machine: object): string {
  const each = sides.map(({ name, runs, samples, memory, execs, stats, streams, handlers, hung }) => ({
    name,
    runs,
    calls: Object.fromEntries(
      [...samples].map(([call, list]) => {
        const ms = list.map((sample) => sample.ms);
        return [
          call,
          { medianMs: median(ms), p90Ms: quantile(ms, 0.9), cpuMs: mean(list.map((sample) => sample.cpuMs)), ms },
        ];
      }),
    ),
    memory: memory.map(({ availableKiB, cgroupKiB, daemonRssKiB, helpersPssKiB }) => ({
      availableKiB,
      cgroupKiB,
      daemonRssKiB,
      helpersPssKiB: Object.fromEntries(helpersPssKiB),
    })),
    execs,
    ...(stats === undefined ? {} : { stats: { ...stats, lists: Object.fromEntries(stats.lists) } }),
    streams: streams.map((sample) => ({
      ...sample,
      megabytesPerSecond: Object.fromEntries(sample.megabytesPerSecond),
      calm: Object.fromEntries(sample.calm),
      flooded: Object.fromEntries(sample.flooded),
    })),
    ...(handlers === undefined ? {} : { handlers: { ...handlers, measured: handlers.measured.map(handlerAsJson) } }),
    ...(hung === undefined
      ? {}
      : { hung: { ...hung, calm: Object.fromEntries(hung.calm), hung: Object.fromEntries(hung.hung) } }),
  }));
  return `${JSON.stringify({ machine, sides: each }, undefined, 2)}\n`;
}

function handlerAsJson({ calls, memory, ...others }: HandlersSample["measured"][number]): object {
  return {
    ...others,
    calls: Object.fromEntries(calls),
    memory: memory.map((sample) => ({ ...sample, pssKiB: Object.fromEntries(sample.pssKiB) })),
  };
}

function ratioCell([ours, theirs]: readonly number[]): string[] {
  if (ours === undefined || theirs === undefined) return [];
  return [theirs === 0 || Number.isNaN(ours / theirs) ? "-" : (ours / theirs).toFixed(2)];
}

function number(value: number): string {
  if (Number.isNaN(value)) return "-";
  return value >= 1000 ? Math.round(value).toLocaleString("en") : value.toFixed(value < 10 ? 2 : 1);
}

function table(columns: readonly string[], rows: readonly Row[]): string {
  const nameWidth = Math.max(...rows.map(({ name }) => name.length));
  const widths = columns.map((column, index) =>
    Math.max(...column.split(" ").map((word) => word.length), ...rows.map(({ cells }) => cells[index]?.length ?? 0)),
  );
  const line = (name: string, cells: readonly string[]) =>
    `  ${name.padEnd(nameWidth)}${cells.map((cell, index) => `  ${cell.padStart(widths[index] ?? 0)}`).join("")}`.trimEnd();
  const heads = [0, 1].map((part) =>
    line(
      "",
      columns.map((column) => (column.includes(" ") ? (column.split(" ")[part] ?? "") : part === 1 ? column : "")),
    ),
  );
  return [...heads.filter((head) => head !== ""), ...rows.map(({ name, cells }) => line(name, cells))].join("\n");
}
