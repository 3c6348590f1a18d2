/**
 * `npm run check`: types, lint, format and unit tests; the quick loop, which needs no root. With `--times` it ends with
 * the files that took longest. One exit code: not 0 when anything failed.
 */
import { join } from "node:path";
import { hasFailed, printSummary, runTests, unitRun } from "./test/run-tests.ts";
import { runStaticChecks } from "./test/static-checks.ts";
import { findTestFiles } from "./test/test-files.ts";
import { TimesReport } from "./test/times-report.ts";

const root = join(import.meta.dirname, "..");
process.chdir(root);
const startedAtMs = performance.now();
using times = TimesReport.ifWanted();
using unit = unitRun(findTestFiles(root, []).unit);
// Together: each has stretches in which one core is idle.
const [failures, counts] = await Promise.all([runStaticChecks(root), runTests([unit])]);
times?.print();
printSummary(counts, failures, startedAtMs);
process.exitCode = hasFailed(counts, failures) ? 1 : 0;
