import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { compose } from "node:stream";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { slowness } from "../../packages/testkit/src/wait.ts";

type RunOptions = NonNullable<Parameters<typeof run>[0]>;

/** How many tests there were, as node:test counts them. */
export interface Counts {
  tests: number;
  suites: number;
  passed: number;
  failed: number;
  cancelled: number;
  skipped: number;
  todo: number;
}

const runTimeoutMs = 10 * 60_000 * slowness;
// systemd is one for all sandboxes, and what one test file starts would be seen by another. Otherwise more than there are
// cores, as many files wait more than they compute; but on CI, where a failure costs most, the machine is less busy.
const hostConcurrency =
  process.env["KEELSON_TEST_CGROUP_DRIVER"] === "systemd" ? 1 : process.env["CI"] === "true" ? 2 : 3;

/** Unit test files in a few processes that share them out. `env` is for those processes. */
export function unitRun(files: readonly string[], env: NodeJS.ProcessEnv = process.env): RunOptions & Disposable {
  const claims = mkdtempSync(join(tmpdir(), "keelson-unit-"));
  // One more than there are cores, because some files mostly wait.
  const batches = Math.min(availableParallelism() + 1, files.length);
  return {
    files: Array<string>(batches).fill(join(import.meta.dirname, "unit-batch.ts")),
    // From the end: the files that wait longest are there, and would otherwise be what the others wait for.
    argv: [claims, ...files.toReversed()],
    concurrency: batches,
    env,
    [Symbol.dispose]: () => rmSync(claims, { recursive: true }),
  };
}

/** Host test files, each in a process and a sandbox of its own, several at a time. `env` is for those processes. */
export function hostRun(root: string, files: readonly string[], env: NodeJS.ProcessEnv): RunOptions {
  const sandboxed = ["--import", join(root, "packages/testkit/src/sandboxed.ts")];
  return { files, concurrency: hostConcurrency, execArgv: sandboxed, env };
}

/**
 * Runs tests one run after the other, with one reporter, which prints. Each run would close with counts of its own; those
 * are added up and returned instead.
 */
export async function runTests(runs: readonly RunOptions[]): Promise<Counts> {
  const counts: Counts = { tests: 0, suites: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 };
  const reporter = compose(eventsOf(runs, counts), spec);
  reporter.pipe(process.stdout, { end: false });
  await new Promise((resolve, reject) => reporter.on("end", resolve).on("error", reject));
  return counts;
}

async function* eventsOf(runs: readonly RunOptions[], counts: Counts) {
  for (const options of runs) {
    if (options.files?.length === 0) continue;
    for await (const event of run({ timeout: runTimeoutMs, ...options })) {
      if (event.type === "test:summary") {
        if (event.data.file === undefined) addCounts(counts, event.data.counts);
      } else if (!(event.type === "test:diagnostic" && event.data.file === undefined && event.data.nesting === 0)) {
        yield event;
      }
    }
  }
}

function addCounts(counts: Counts, more: Partial<Counts>): void {
  for (const name of Object.keys(counts) as (keyof Counts)[]) counts[name] += more[name] ?? 0;
}

export function hasFailed(counts: Counts, failures: readonly string[]): boolean {
  return counts.failed > 0 || counts.cancelled > 0 || failures.length > 0;
}

/** Prints what failed beside tests, and the counts, as the last lines. */
export function printSummary(counts: Counts, failures: readonly string[], startedAtMs: number): void {
  for (const failure of failures) console.log(`✖ ${failure}`);
  const { tests, suites, passed: pass, failed: fail, ...rest } = counts;
  const closing = { tests, suites, pass, fail, ...rest, duration_ms: Math.round(performance.now() - startedAtMs) };
  for (const [name, count] of Object.entries(closing)) console.log(`ℹ ${name} ${count}`);
}
