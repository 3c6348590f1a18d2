/**
 * `npm run test:fuzz`: libFuzzer looks for inputs that break the parsers of native/*.c, for 20 seconds each.
 *
 *     npm run test:fuzz -- [SECONDS] [TARGET]...
 *
 * Each fuzz/TARGET.c begins with the inputs of fuzz/corpus/TARGET; what is found on the way goes to build/fuzz and is
 * where the next run goes on. An input that breaks a target is printed, with its file, and belongs into the corpus once
 * its cause is fixed. Needs clang with its libraries, which the command's set-up installs.
 */
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { compileTarget, corpusOf, fuzzTargets } from "./fuzz-targets.ts";

const work = join(import.meta.dirname, "../build/fuzz");
const [first, ...others] = process.argv.slice(2);
const seconds = /^\d+$/.test(first ?? "") ? Number(first) : 20;
const named = /^\d+$/.test(first ?? "") || first === undefined ? others : [first, ...others];
const unknown = named.find((name) => !fuzzTargets().includes(name));
if (unknown !== undefined) {
  console.error(`${unknown} is not a fuzz target. There are: ${fuzzTargets().join(", ")}`);
  process.exit(2);
}

const waiting = named.length > 0 ? named : fuzzTargets();
const broken: string[] = [];
await Promise.all(Array.from({ length: availableParallelism() }, fuzzWaiting));
if (broken.length > 0) console.error(`broken: ${broken.join(", ")}`);
process.exit(broken.length > 0 ? 1 : 0);

async function fuzzWaiting(): Promise<void> {
  for (let target = waiting.shift(); target !== undefined; target = waiting.shift())
    if (!(await fuzz(target))) broken.push(target);
}

/** Prints how it went; false when the target broke. */
async function fuzz(target: string): Promise<boolean> {
  const program = join(work, target);
  const found = join(work, "corpus", target);
  mkdirSync(found, { recursive: true });
  compileTarget(target, program, "clang");
  const limits = [`-max_total_time=${seconds}`, "-timeout=10", "-rss_limit_mb=1024"];
  const args = [...limits, "-print_final_stats=1", `-artifact_prefix=${work}/${target}-`, found, corpusOf(target)];
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
  const status = await new Promise<number | null>((resolve, reject) => child.on("error", reject).on("close", resolve));
  const inputs = /stat::number_of_executed_units:\s*(\d+)/.exec(output)?.[1];
  const coverage = /cov: (\d+) (?![^]*cov: )/.exec(output)?.[1];
  if (status !== 0) console.log(output);
  console.log(`${status === 0 ? "✔" : "✖"} ${target}: ${inputs ?? "?"} inputs, ${coverage ?? "?"} places reached`);
  return status === 0;
}
