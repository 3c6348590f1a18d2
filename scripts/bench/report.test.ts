import assert from "node:assert/strict";
import { test } from "node:test";
import type { Burst } from "./execs.ts";
import { execTable, hungTable, type SideResult } from "./report.ts";

const lineOf = (table: string, name: string) => table.split("\n").find((line) => line.trim().startsWith(name))?.trim().split(/\s{2,}/);

test("a call is under the limit when its p99 is, whatever its maximum", () => {
  const fast = [...Array.from({ length: 499 }, () => 1), 500];
  const slow = [...Array.from({ length: 490 }, () => 1), ...Array.from({ length: 10 }, () => 21)];
  const text = hungTable({
    calm: new Map([["Version", [2]]]),
    hung: new Map([["Version", fast], ["Status", slow]]),
    hangs: [{ what: "stopped conmon", count: 4, of: 5 }],
    attempts: 7,
    waiting: 3,
    left: ["keelsond: stopPodSandbox: busy"],
  });
  assert.deepEqual(lineOf(text, "Version"), ["Version", "500", "2.00", "1.00", "1.00", "1.00", "500.0", "yes"]);
  assert.deepEqual(lineOf(text, "Status"), ["Status", "500", "-", "1.00", "1.00", "21.0", "21.0", "no"]);
  assert.match(text, /stopped conmon 4 of 5; 7 calls were made on them, 3 waited/);
  assert.match(text, /still there: keelsond: stopPodSandbox: busy/);
});

test("execs have their times all together and their CPU as the median of the turns, beside the peer's", () => {
  const burst = (ms: number, cpuMs: number): Burst => ({ ms: [ms, ms], wallMs: 2 * ms, userMs: cpuMs, systemMs: 1, daemonMs: cpuMs / 2 });
  const side = (name: string, ...cpuMs: number[]): SideResult => ({
    name,
    runs: "",
    samples: new Map(),
    memory: [],
    execs: cpuMs.map((cpu) => ({ oneByOne: burst(cpu, cpu), tenAtATime: burst(1, cpu), daemonRssKiB: 2048 * cpu })),
    hung: undefined,
  });
  const text = execTable([side("keelsond", 1, 2, 9), side("peer", 4, 5, 6)]);
  assert.deepEqual(lineOf(text, "median"), ["median, ms", "2.00", "5.00", "0.40"]);
  assert.deepEqual(lineOf(text, "CPU for each"), ["CPU for each, ms", "3.00", "6.00", "0.50"]);
  assert.deepEqual(lineOf(text, "of both"), ["of both the daemon's", "1.00", "2.50", "0.40"]);
  assert.deepEqual(lineOf(text, "execs a second"), ["execs a second", "500.0", "200.0", "2.50"]);
  assert.deepEqual(lineOf(text, "daemon's RSS"), ["daemon's RSS then, MiB", "4.00", "10.0", "0.40"]);
});
