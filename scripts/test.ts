/**
 * `npm test`: types, lint, unit tests, host tests, leaks. Arguments narrow it down to the test files whose path has
 * one of them in it: `npm test -- packages/linux reference`; then types and lint are left out.
 *
 * The whole run is in a sandbox (mount, PID, network and cgroup namespaces, see testkit's host-sandbox.ts), so
 * nothing it does can reach the machine or the internet, and whatever hangs dies with it. Unit tests come first,
 * together; each host test file then gets a sandbox of its own within, two at a time, and fails by itself when it
 * leaves something behind there (testkit's sandboxed.ts). What the run as a whole left is the last test.
 *
 * The runs share one reporter. Each would close with counts of its own, so those are added up and printed once, as
 * the last lines. One exit code: not 0 when anything failed, or when no test ran at all.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { compose } from "node:stream";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import { reexecInSandbox } from "../packages/testkit/src/host-sandbox.ts";
import { leftBehind, takeSnapshot } from "../packages/testkit/src/leaks.ts";
import { slowness } from "../packages/testkit/src/wait.ts";

const root = join(import.meta.dirname, "..");
const fileTimeoutMs = 10 * 60_000 * slowness;
// systemd is one for all sandboxes, and what one test file starts would be seen by another.
const hostConcurrency = process.env["KEELSON_TEST_CGROUP_DRIVER"] === "systemd" ? 1 : 2;
type RunOptions = NonNullable<Parameters<typeof run>[0]>;

if (process.getuid?.() !== 0) {
  console.error("npm test needs root: host tests make namespaces, mounts and cgroups. `npm run check` runs the rest.");
  process.exit(1);
}
process.chdir(root);
await reexecInSandbox({ net: true });
const before = takeSnapshot();
const startedAtMs = performance.now();
const narrowedTo = process.argv.slice(2);

const failures: string[] = [];
if (narrowedTo.length === 0) {
  check("types", "node_modules/.bin/tsc", ["--noEmit"]);
  check("lint", "node_modules/.bin/oxlint", ["--type-aware"]);
}

const all = globSync(["packages/*/{src,host-tests,scripts}/**/*.test.ts", "scripts/**/*.test.ts"])
  .filter((file) => narrowedTo.length === 0 || narrowedTo.some((part) => file.includes(part)))
  .sort();
const hostFiles = all.filter((file) => file.endsWith(".host.test.ts"));
const unitFiles = all.filter((file) => !hostFiles.includes(file));

const counts = { tests: 0, suites: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 };
const reporter = compose(events, spec);
reporter.pipe(process.stdout, { end: false });
await new Promise((resolve, reject) => reporter.on("end", resolve).on("error", reject));

const left = leftBehind(before);
counts.tests++;
if (left.length === 0) {
  counts.passed++;
} else {
  counts.failed++;
  failures.push(`the tests left behind:\n${left.map((sentence) => `    ${sentence}`).join("\n")}`);
}
if (all.length === 0) failures.push(`no test file has ${narrowedTo.join(" or ")} in its path`);
console.log(`${left.length === 0 ? "✔" : "✖"} nothing is left behind on the machine`);
for (const failure of failures) console.log(`✖ ${failure}`);
const { passed: pass, failed: fail, ...others } = counts;
const { tests, suites, ...rest } = others;
const closing = { tests, suites, pass, fail, ...rest, duration_ms: Math.round(performance.now() - startedAtMs) };
for (const [name, count] of Object.entries(closing)) console.log(`ℹ ${name} ${count}`);
process.exit(fail > 0 || counts.cancelled > 0 || failures.length > 0 ? 1 : 0);

/** The events of all runs, one after the other, without their closing counts. */
async function* events() {
  const sandboxed = ["--import", join(root, "packages/testkit/src/sandboxed.ts")];
  const runs: RunOptions[] = [
    { files: unitFiles, concurrency: availableParallelism() },
    { files: hostFiles, concurrency: hostConcurrency, execArgv: sandboxed },
  ];
  for (const options of runs) {
    if (options.files?.length === 0) continue;
    for await (const event of run({ ...options, timeout: fileTimeoutMs })) {
      if (event.type === "test:summary") {
        if (event.data.file === undefined) addCounts(event.data.counts);
      } else if (!(event.type === "test:diagnostic" && event.data.file === undefined && event.data.nesting === 0)) {
        yield event;
      }
    }
  }
}

function addCounts(of: {
  tests: number;
  suites: number;
  passed: number;
  cancelled: number;
  skipped: number;
  todo: number;
  failed?: number;
}): void {
  for (const name of Object.keys(counts) as (keyof typeof counts)[]) counts[name] += of[name] ?? 0;
}

function check(name: string, command: string, args: readonly string[]): void {
  const start = performance.now();
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${status === 0 ? "✔" : "✖"} ${name} (${seconds} s)`);
  if (status !== 0) failures.push(`${name}: see above`);
}
