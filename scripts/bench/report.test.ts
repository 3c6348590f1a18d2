import assert from "node:assert/strict";
import { test } from "node:test";
import type { Burst } from "./execs.ts";
import { asJson, execTable, handlersTable, hungTable, type SideResult, statsTable, streamTable } from "./report.ts";
import type { ListName } from "./stats.ts";

const lineOf = (table: string, name: string) =>
  table
    .split("\n")
    .find((line) => line.trim().startsWith(name))
    ?.trim()
    .split(/\s{2,}/);

test("a call is under the limit when its p99 is, whatever its maximum", () => {
  const fast = [...Array.from({ length: 499 }, () => 1), 500];
  const slow = [...Array.from({ length: 490 }, () => 1), ...Array.from({ length: 10 }, () => 21)];
  const text = hungTable({
    calm: new Map([["Version", [2]]]),
    hung: new Map([
      ["Version", fast],
      ["Status", slow],
    ]),
    hangs: [{ what: "stopped conmon", count: 4, of: 5 }],
    attempts: 7,
    waiting: 3,
    left: ["keelsond: stopPodSandbox: busy"],
  });
  assert.deepEqual(lineOf(text, "Version"), ["Version", "500", "2.00", "1.00", "1.00", "1.00", "500.0", "yes"]);
  assert.deepEqual(lineOf(text, "Status"), ["Status", "500", "-", "1.00", "1.00", "21.0", "21.0", "no"]);
  assert.match(text, /stopped conmon 4 of 5; 7 calls were made on them, 3 were waiting/);
  assert.match(text, /still there: keelsond: stopPodSandbox: busy/);
});

test("execs have times of all turns together and CPU as the median of the turns, next to the peer's", () => {
  const burst = (ms: number, cpuMs: number): Burst => ({
    ms: [ms, ms],
    wallMs: 2 * ms,
    userMs: cpuMs,
    systemMs: 1,
    daemonMs: cpuMs / 2,
  });
  const side = (name: string, ...cpuMs: number[]): SideResult => ({
    name,
    runs: "",
    samples: new Map(),
    memory: [],
    execs: cpuMs.map((cpu) => ({ oneByOne: burst(cpu, cpu), tenAtATime: burst(1, cpu), daemonRssKiB: 2048 * cpu })),
    stats: undefined,
    streams: [],
    handlers: undefined,
    hung: undefined,
  });
  const text = execTable([side("keelsond", 1, 2, 9), side("peer", 4, 5, 6)]);
  assert.deepEqual(lineOf(text, "median"), ["median, ms", "2.00", "5.00", "0.40"]);
  assert.deepEqual(lineOf(text, "CPU for each"), ["CPU for each, ms", "3.00", "6.00", "0.50"]);
  assert.deepEqual(lineOf(text, "of both"), ["of both the daemon's", "1.00", "2.50", "0.40"]);
  assert.deepEqual(lineOf(text, "execs a second"), ["execs a second", "500.0", "200.0", "2.50"]);
  assert.deepEqual(lineOf(text, "daemon's RSS"), ["daemon's RSS then, MiB", "4.00", "10.0", "0.40"]);
});

test("a list that a runtime does not have is reported as missing, without a ratio", () => {
  const turn = (ms: number, cpuMs: number) => ({ ms: [ms, ms, ms], bytes: 2048, daemonMs: cpuMs / 2, sideMs: cpuMs });
  const side = (name: string, ms: number, lists: readonly ListName[]): SideResult => ({
    name,
    runs: "",
    samples: new Map(),
    memory: [],
    execs: [],
    stats: {
      lists: new Map(lists.map((list) => [list, [turn(ms, 1), turn(2 * ms, 2), turn(3 * ms, 9)]])),
      containers: 4,
      poll: { seconds: 5, daemonMs: ms, sideMs: 2 * ms, daemonRssKiB: 1024 },
    },
    streams: [],
    handlers: undefined,
    hung: undefined,
  });
  const text = statsTable([
    side("keelsond", 1, ["ListContainers", "ListPodSandboxMetrics"]),
    side("peer", 4, ["ListContainers"]),
  ]);
  assert.deepEqual(lineOf(text, "median"), ["median, ms", "2.00", "8.00", "0.25"]);
  assert.deepEqual(lineOf(text, "answer"), ["answer, KiB", "2.00", "2.00", "1.00"]);
  assert.deepEqual(lineOf(text, "CPU for each"), ["CPU for each, ms", "2.00", "2.00", "1.00"]);
  assert.deepEqual(lineOf(text, "CPU a second"), ["CPU a second, ms", "2.00", "8.00", "0.25"]);
  assert.deepEqual(lineOf(text.slice(text.indexOf("ListPodSandboxMetrics")), "median"), [
    "median, ms",
    "2.00",
    "-",
    "-",
  ]);
  assert.match(text, /ListPodSandboxMetrics, which peer does not have/);
});

test("streams are compared by the median of the turns, except for a transport that one side lacks", () => {
  const side = (name: string, factor: number, speeds: readonly string[]): SideResult => ({
    name,
    runs: "",
    samples: new Map(),
    memory: [],
    execs: [],
    stats: undefined,
    streams: [1, 2, 9].map((turn) => ({
      megabytesPerSecond: new Map(speeds.map((speed) => [speed, factor * turn])),
      execMs: [factor, factor * turn],
      forwardsPerSecond: 100 * factor * turn,
      calm: new Map([["Version", [factor]]]),
      flooded: new Map([["Version", Array.from({ length: 101 }, (_, index) => factor * index)]]),
      floodMegabytesPerSecond: factor,
    })),
    handlers: undefined,
    hung: undefined,
  });
  const text = streamTable([
    side("keelsond", 3, ["exec stdout, SPDY", "exec stdout, WebSocket"]),
    side("peer", 1, ["exec stdout, SPDY"]),
  ]);
  assert.deepEqual(lineOf(text, "exec stdout, SPDY"), ["exec stdout, SPDY", "6.00", "2.00", "3.00"]);
  assert.deepEqual(lineOf(text, "exec stdout, WebSocket"), ["exec stdout, WebSocket", "6.00", "-", "-"]);
  assert.deepEqual(lineOf(text, "forwarded connections"), ["forwarded connections a second", "600.0", "200.0", "3.00"]);
  assert.deepEqual(lineOf(text, "Version p99, ten execs flood"), [
    "Version p99, ten execs flood",
    "297.0",
    "99.0",
    "3.00",
  ]);
});

test("handlers are side by side, with the processes of each, and a missing one is named", () => {
  const memory = (pssKiB: Record<string, number>) => [
    { availableKiB: 3072, cgroupKiB: 2048, pssKiB: new Map(Object.entries(pssKiB)) },
  ];
  const handler = (name: string, ms: number[], pssKiB: Record<string, number>) => ({
    name,
    what: `how ${name} does it`,
    calls: new Map([["pod up", ms.map((each) => ({ ms: each, cpuMs: 2 * each }))]]),
    memory: memory(pssKiB),
    logMegabytesPerSecond: [10, 30, 20],
  });
  const handlers = {
    measured: [
      handler("crun", [1, 2, 3], { conmon: 1024, sleep: 512 }),
      handler("shim", [4], { "containerd-shim": 4096 }),
    ],
    missing: [{ name: "runsc", problem: "it is not installed" }],
  };
  const text = handlersTable(handlers);
  assert.deepEqual(lineOf(text, "pod up, median"), ["pod up, median, ms", "2.00", "4.00"]);
  assert.deepEqual(lineOf(text, "p90"), ["p90", "2.80", "4.00"]);
  assert.deepEqual(lineOf(text, "CPU"), ["CPU", "4.00", "8.00"]);
  assert.deepEqual(lineOf(text, "log"), ["log, MB a second", "20.0", "20.0"]);
  assert.deepEqual(lineOf(text, "MemAvailable"), ["MemAvailable", "3.00", "3.00"]);
  assert.deepEqual(lineOf(text, "PSS"), ["PSS of its processes", "1.50", "4.00"]);
  assert.deepEqual(lineOf(text, "conmon"), ["conmon", "1.00", "-"]);
  assert.match(text, /^ {2}crun: how crun does it$/m);
  assert.match(text, /^ {2}runsc was not measured: it is not installed$/m);

  const side: SideResult = {
    name: "keelsond",
    runs: "",
    samples: new Map(),
    memory: [],
    execs: [],
    stats: undefined,
    streams: [],
    handlers,
    hung: undefined,
  };
  const read = JSON.parse(asJson([side], {})) as {
    sides: { handlers: { measured: { calls: object; memory: object[] }[]; missing: object[] } }[];
  };
  assert.deepEqual(read.sides[0]!.handlers.measured[1]!.calls, { "pod up": [{ ms: 4, cpuMs: 8 }] });
  assert.deepEqual(read.sides[0]!.handlers.measured[1]!.memory, [
    { availableKiB: 3072, cgroupKiB: 2048, pssKiB: { "containerd-shim": 4096 } },
  ]);
  assert.deepEqual(read.sides[0]!.handlers.missing, handlers.missing);
});
