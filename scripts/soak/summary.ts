import { loadavg } from "node:os";
import { median } from "../bench/statistics.ts";
import type { ChurnResult } from "./churn.ts";
import { describeFailure } from "./ledger.ts";

const shownFailures = 20;
const shownLeaks = 20;

/** Whether all that the soak checks was right. */
export function hasPassed({ ledger, memory, leaks, left }: ChurnResult): boolean {
  return ledger.failed === 0 && memory.isFlat !== false && leaks.size === 0 && left.length === 0;
}

/** The end of a run, in lines. */
export function summaryOf(result: ChurnResult, seed: number): string {
  const { seconds, ledger, memory, restartsMs, leaks, left } = result;
  const calls = [...ledger.total.values()].reduce((sum, { count }) => sum + count, 0);
  const restarts =
    restartsMs.length === 0
      ? ""
      : `, back in ${median(restartsMs).toFixed(0)} ms (median), ${Math.max(...restartsMs).toFixed(0)} ms at most`;
  return [
    "",
    callTable(result),
    "",
    `  run            ${seconds.toFixed(0)} s, seed ${seed}, load average ${loadavg()
      .map((value) => value.toFixed(1))
      .join(" ")}`,
    `  calls          ${calls} answered, ${(calls / seconds).toFixed(1)} a second; ${ledger.cut} cut off by kills and repeated, ${ledger.left} whose client went away`,
    `  kills          ${restartsMs.length}${restarts}`,
    `  failures       ${ledger.failed}`,
    `  leaked         ${leaks.size} while it ran, ${left.length} left at the end`,
    `  memory         ${memory.text}`,
    ...ledger.failures.slice(0, shownFailures).map((failure) => `\n  ✖ ${describeFailure(failure)}`),
    ...(ledger.failed > shownFailures ? [`\n  … and ${ledger.failed - shownFailures} more`] : []),
    ...[...leaks].slice(0, shownLeaks).map(([thing, at]) => `  ✖ leaked, first seen ${at.toISOString()}: ${thing}`),
    ...left.slice(0, shownLeaks).map((sentence) => `  ✖ at the end: ${sentence}`),
    "",
    hasPassed(result) ? "The soak has passed." : "The soak has FAILED.",
    "",
  ].join("\n");
}

function callTable({ ledger }: ChurnResult): string {
  const rows = [...ledger.total]
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([name, latencies]) => {
      const figures = [latencies.quantile(0.5), latencies.quantile(0.99), latencies.maxMs].map((ms) =>
        ms.toFixed(1).padStart(9),
      );
      return `  ${name.padEnd(20)} ${String(latencies.count).padStart(7)} ${figures.join(" ")}`;
    });
  return [
    `  ${"call".padEnd(20)} ${"calls".padStart(7)} ${["p50 ms", "p99 ms", "max ms"].map((head) => head.padStart(9)).join(" ")}`,
    ...rows,
  ].join("\n");
}
