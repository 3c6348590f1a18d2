import { execFileSync } from "node:child_process";
import { waitFor } from "@keelson/testkit/wait.ts";

/**
 * Waits until the kernel's log will name the next few processes that it kills because memory ran out. It reports 10 such
 * kills in 5 s, of the whole machine, and leaves out the others (mm/oom_kill.c: oom_rs).
 */
export async function untilOomKillsAreReported(): Promise<void> {
  await waitFor(() => recentReports() <= 10 - needed);
}

/** What tests that run at the same time may use up meanwhile. */
const needed = 5;

function recentReports(): number {
  const log = execFileSync("dmesg", { encoding: "utf8", maxBuffer: Infinity });
  const since = Number(process.hrtime.bigint()) / 1e9 - 5.5;
  return [...log.matchAll(/^\[ *([\d.]+)\] oom-kill:/gm)].filter(([, at]) => Number(at) > since).length;
}
