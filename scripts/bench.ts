/**
 * `npm run bench`: how long each call of the CRI takes on keelsond and on a peer, in turns, and how much memory their
 * pods take. docs/benchmarks.md says how to read it. Without --peer all of it, Debian's containerd included, is in a
 * sandbox and a temporary directory. Exits with 0 when everything could be measured, whatever the figures.
 */
import { copyFileSync, existsSync, writeFileSync } from "node:fs";
import { arch, cpus, release, tmpdir, totalmem } from "node:os";
import { join, resolve } from "node:path";
import { messageOf } from "@keelson/base/status.ts";
import { Bench } from "./bench/bench.ts";
import { type BenchOptions, parseOptions, usage } from "./bench/options.ts";
import {
  asJson,
  execTable,
  handlersTable,
  hungTable,
  memoryTable,
  statsTable,
  streamTable,
  timeTable,
} from "./bench/report.ts";
import { enterTemporarySandbox, makeTemporary } from "./temporary-sandbox.ts";

const options = readOptions();
if (process.getuid?.() !== 0) fail("the bench needs root, because pods need namespaces, mounts and cgroups");
const dir =
  options.peer === undefined ? await enterTemporarySandbox("keelson-bench-") : makeTemporary("keelson-bench-");
const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (interrupt.signal.aborted) process.exit(130);
    interrupt.abort(new Error(`interrupted by ${signal}; cleaning up`));
  });
}
process.exitCode = await main();

async function main(): Promise<number> {
  const machine = {
    cpu: cpus()[0]?.model ?? "",
    cpus: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    arch: arch(),
  };
  console.log(`${machine.cpus} × ${machine.cpu}, ${machine.memoryGiB} GiB, Linux ${machine.kernel}\n`);
  try {
    await using bench = await Bench.open(dir, options, interrupt.signal);
    for (const { name, runs } of bench.sides) console.log(`  ${name.padEnd(12)} ${runs}`);
    console.log("");
    await bench.run(progress);
    progress("");
    const results = bench.results();
    if (results.some(({ samples }) => samples.size > 0))
      console.log(`Calls, ms, ${options.rounds} rounds each, in turns:\n\n${timeTable(results)}\n`);
    if (options.only.has("execs"))
      console.log(
        `ExecSync of \`true\`, ${results[0]?.execs.length} turns of 100 in one container:\n\n${execTable(results)}\n`,
      );
    if (options.only.has("memory")) {
      console.log(
        `Memory, MiB, ${options.pods} pods with one container each, the median of ${results[0]?.memory.length} turns:\n\n${memoryTable(results, options.pods)}\n`,
      );
    }
    if (options.only.has("stats")) {
      console.log(
        `Lists and stats of ${results[0]?.stats?.containers} running containers in ${options.statsPods} pods, then ${options.pollSeconds} s of a client that polls like a kubelet:\n\n${statsTable(results)}\n`,
      );
    }
    if (options.only.has("streams"))
      console.log(`Streams, ${results[0]?.streams.length} turns:\n\n${streamTable(results)}\n`);
    for (const { handlers } of results) {
      if (handlers !== undefined)
        console.log(`Runtime handlers of keelsond, in turns:\n\n${handlersTable(handlers)}\n`);
    }
    for (const { name, hung } of results) {
      if (hung !== undefined)
        console.log(`Lists and statuses of ${name} while pods and containers hang, ms:\n\n${hungTable(hung)}\n`);
    }
    if (options.json !== undefined) {
      writeFileSync(options.json, asJson(results, machine));
      console.log(`Every figure is in ${resolve(options.json)}.\n`);
    }
    return 0;
  } catch (error) {
    progress("");
    const { aborted, reason } = interrupt.signal;
    console.error(messageOf(aborted ? reason : error));
    if (!aborted) keepLogs();
    return aborted ? 130 : 1;
  }
}

/** The temporary directory is removed, but the daemons' logs may explain a failure. */
function keepLogs(): void {
  for (const name of ["keelsond", "containerd"]) {
    const log = join(dir, name, `${name}.log`);
    if (!existsSync(log)) continue;
    const kept = join(tmpdir(), `keelson-bench-${name}-${Date.now()}.log`);
    copyFileSync(log, kept);
    console.error(`the log of ${name} is in ${kept}`);
  }
}

/** On a terminal one line, which is overwritten; elsewhere nothing. */
function progress(text: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\u001B[K${text}`);
}

function readOptions(): BenchOptions {
  try {
    const parsed = parseOptions(process.argv.slice(2));
    if (parsed !== "help") return parsed;
  } catch (error) {
    fail(`bench: ${messageOf(error)}\n\n${usage}`);
  }
  console.log(usage);
  process.exit(0);
}

function fail(text: string): never {
  console.error(text);
  process.exit(2);
}
