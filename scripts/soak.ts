/**
 * `npm run soak`: churn on a keelsond that is killed every minute, or (--load N) N pods at once. All of it is in a
 * sandbox (testkit's host-sandbox.ts) and a temporary directory; images come from a registry in this process. Exits
 * with 0 when no call failed, no line of a log was lost, nothing leaked and memory is flat; docs/reliability.md says
 * more.
 */
import { copyFileSync, existsSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { messageOf } from "@keelson/base/status.ts";
import { keelsondLog } from "./keelsond.ts";
import { churn } from "./soak/churn.ts";
import { describeFailure } from "./soak/ledger.ts";
import { load } from "./soak/load.ts";
import { parseOptions, type SoakOptions, usage } from "./soak/options.ts";
import { hasPassed, summaryOf } from "./soak/summary.ts";
import { enterTemporarySandbox } from "./temporary-sandbox.ts";

const options = readOptions();
if (process.getuid?.() !== 0) fail("the soak needs root, because pods need namespaces, mounts and cgroups");
const dir = await enterTemporarySandbox("keelson-soak-");
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    // Whoever interrupts twice means it: the sandbox takes everything with it.
    if (interrupt.signal.aborted) process.exit(130);
    console.log(`\n${signal}: taking everything down; once more to end at once`);
    interrupt.abort(new Error(`interrupted by ${signal}`));
  });
}
process.exitCode = await main();

async function main(): Promise<number> {
  const what =
    options.load === undefined
      ? `${options.pods} pods, ${options.minutes} min, seed ${options.seed}${options.kill ? "" : ", no kills"}`
      : `${options.load} pods at once`;
  const handlers = options.handlers.length === 0 ? "" : `, by ${options.handlers.join(", ")} in turns`;
  console.log(`\nKeelson soak: ${what}${handlers}; ${cpus().length} cores, load average ${loadavg()[0]?.toFixed(1)}\n`);
  try {
    const isPassed =
      options.load === undefined ? await runChurn(options) : await runLoad(options.load, options.handlers);
    if (!isPassed) keepLog();
    return isPassed ? 0 : 1;
  } catch (error) {
    console.error(messageOf(error));
    keepLog();
    return 1;
  }
}

async function runChurn(options: SoakOptions): Promise<boolean> {
  const result = await churn(dir, options, interrupt.signal, progress);
  console.log(summaryOf(result, options.seed));
  if (options.csv !== undefined) console.log(`Every 10 s of it are in ${resolve(options.csv)}.\n`);
  return hasPassed(result);
}

async function runLoad(count: number, handlers: readonly string[]): Promise<boolean> {
  const { ledger, figures, left } = await load(dir, { count, handlers }, interrupt.signal, progress);
  const isPassed = ledger.failed === 0 && left.length === 0;
  console.log(
    `\n${figures.join("\n")}\n\n  load average ${loadavg()
      .map((value) => value.toFixed(1))
      .join(" ")}\n`,
  );
  for (const failure of ledger.failures.slice(0, 20)) console.log(`  ✖ ${describeFailure(failure)}`);
  for (const sentence of left.slice(0, 20)) console.log(`  ✖ at the end: ${sentence}`);
  console.log(
    isPassed ? "Nothing failed and nothing is left.\n" : `${ledger.failed} failures, ${left.length} things left.\n`,
  );
  return isPassed;
}

function progress(text: string): void {
  console.log(`  ${text}`);
}

/** The temporary directory is removed, but the daemon's log may explain a failure. */
function keepLog(): void {
  if (!existsSync(keelsondLog(dir))) return;
  const kept = join(tmpdir(), `keelson-soak-${Date.now()}.log`);
  copyFileSync(keelsondLog(dir), kept);
  console.error(`the log of keelsond is in ${kept}`);
}

function readOptions(): SoakOptions {
  try {
    const parsed = parseOptions(process.argv.slice(2), () => 1 + Math.floor(Math.random() * 999_999));
    if (parsed !== "help") return parsed;
  } catch (error) {
    fail(`soak: ${messageOf(error)}\n\n${usage}`);
  }
  console.log(usage);
  process.exit(0);
}

function fail(text: string): never {
  console.error(text);
  process.exit(2);
}
