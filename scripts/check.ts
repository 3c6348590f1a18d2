/**
 * `npm run check`: types, lint, format and unit tests; the quick loop, which needs no root. With `--times` it ends with
 * the files that took longest. One exit code: not 0 when anything failed.
 */
import { accessSync, constants } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasFailed, printSummary, runTests, unitRun } from "./test/run-tests.ts";
import { runStaticChecks } from "./test/static-checks.ts";
import { findTestFiles } from "./test/test-files.ts";
import { TimesReport } from "./test/times-report.ts";

const root = join(import.meta.dirname, "..");
process.chdir(root);
const startedAtMs = performance.now();
using times = TimesReport.ifWanted();
using unit = unitRun(findTestFiles(root, []).unit, { ...process.env, TMPDIR: temporaryDir() });
// Together: each has stretches in which one core is idle.
const [failures, counts] = await Promise.all([runStaticChecks(root), runTests([unit])]);
times?.print();
printSummary(counts, failures, startedAtMs);
process.exitCode = hasFailed(counts, failures) ? 1 : 0;

/** One in memory where there is one: the tests make tens of thousands of small files. */
function temporaryDir(): string {
  const inMemory = "/dev/shm";
  try {
    accessSync(inMemory, constants.W_OK | constants.X_OK);
    return inMemory;
  } catch {
    return tmpdir();
  }
}
