/**
 * `npm test`: types, lint, format, unit tests, host tests, leaks. Arguments narrow it down to the test files whose path
 * has one of them in it: `npm test -- packages/linux reference`; then types, lint and format are left out. With
 * `--times` it ends with the files that took longest.
 *
 * The whole run is in a sandbox (mount, PID, network and cgroup namespaces, see testkit's host-sandbox.ts), so
 * nothing it does can reach the machine or the internet, and whatever hangs dies with it. Unit tests come first,
 * in a process for each core; each host test file then gets a sandbox of its own within, several at a time, and fails by
 * itself when it leaves something behind there (testkit's sandboxed.ts). What the run as a whole left is the last test.
 *
 * One exit code: not 0 when anything failed, or when no test ran at all.
 */
import { join } from "node:path";
import { reexecInSandbox } from "../packages/testkit/src/host-sandbox.ts";
import { leftBehind, takeSnapshot } from "../packages/testkit/src/leaks.ts";
import { BuiltPrograms } from "./test/built-programs.ts";
import { hasFailed, hostRun, printSummary, runTests, unitRun } from "./test/run-tests.ts";
import { runStaticChecks } from "./test/static-checks.ts";
import { findTestFiles } from "./test/test-files.ts";
import { TimesReport } from "./test/times-report.ts";

const root = join(import.meta.dirname, "..");

if (process.getuid?.() !== 0) {
  console.error("npm test needs root: host tests make namespaces, mounts and cgroups. `npm run check` runs the rest.");
  process.exit(1);
}
process.chdir(root);
await reexecInSandbox({ net: true });
const before = takeSnapshot();
const startedAtMs = performance.now();
const parts = process.argv.slice(2).filter((argument) => argument !== "--times");
process.exit(await main());

async function main(): Promise<number> {
  using times = TimesReport.ifWanted();
  const { unit, host } = findTestFiles(root, parts);
  const failures: string[] = [];
  if (unit.length + host.length === 0) failures.push(`no test file has ${parts.join(" or ")} in its path`);
  // The sandbox's /run is in memory.
  using unitTests = unitRun(unit, { ...process.env, TMPDIR: "/run" });
  using programs =
    host.length > 0 && process.env["KEELSON_TEST_BUILT"] === undefined ? new BuiltPrograms(root) : undefined;
  const hostTests = hostRun(root, host, { ...process.env, ...programs?.env });
  const [problems, counts] = await Promise.all([
    parts.length === 0 ? runStaticChecks(root) : [],
    runTests([unitTests, hostTests]),
  ]);
  failures.push(...problems);
  counts.tests++;
  const left = leftBehind(before);
  if (left.length === 0) {
    counts.passed++;
  } else {
    counts.failed++;
    failures.push(`the tests left behind:\n${left.map((sentence) => `    ${sentence}`).join("\n")}`);
  }
  console.log(`${left.length === 0 ? "✔" : "✖"} nothing is left behind on the machine`);
  times?.print();
  printSummary(counts, failures, startedAtMs);
  return hasFailed(counts, failures) ? 1 : 0;
}
