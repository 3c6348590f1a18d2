/**
 * `npm run test:sanitized`: the addon and its programs, compiled with AddressSanitizer and UndefinedBehaviorSanitizer,
 * under this package's tests; and the fuzz targets on their corpora. Arguments narrow it down to the test files whose
 * path has one of them in it, as with `npm test`.
 *
 * The sanitized files lie over the usual ones in a mount namespace, so that neither a test nor the product knows. Leaks
 * are reported too, but not those of Node itself (sanitized-node-leaks.txt).
 */
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { compileTarget, corpusOf, fuzzTargets } from "./fuzz-targets.ts";

const here = import.meta.dirname;
const root = join(here, "../../..");
const build = join(here, "../build");
const given = process.argv.slice(2);
/** The stand-in's own test plays its sandbox and its runsc, and is in the package that uses both. */
const parts = given.length > 0 ? given : ["packages/linux/src", "runtimes/src/gvisor-stand-in"];

if (process.getuid?.() !== 0) {
  console.error("npm run test:sanitized needs root: it mounts, and so do the tests");
  process.exit(1);
}
execFileSync(process.execPath, [join(here, "../build.mjs"), "--sanitized"], { stdio: "inherit" });

let isBroken = false;
for (const target of given.length > 0 ? [] : fuzzTargets()) {
  const program = join(build, "sanitized", `fuzz-${target}`);
  compileTarget(target, program, "cc");
  const corpus = readdirSync(corpusOf(target)).map((name) => join(corpusOf(target), name));
  const { status } = spawnSync(program, corpus, { stdio: ["ignore", "ignore", "inherit"] });
  console.log(`${status === 0 ? "✔" : "✖"} ${target}: ${corpus.length} inputs`);
  isBroken ||= status !== 0;
}

const overlaid = 'mount --bind "$1" "$2" && shift 2 && exec "$@"';
const command = [join(here, "sanitized-node"), join(root, "scripts/test.ts"), ...parts];
const { status } = spawnSync(
  "unshare",
  ["--mount", "--propagation", "private", "sh", "-c", overlaid, "sh", join(build, "sanitized"), build, ...command],
  {
    cwd: root,
    stdio: "inherit",
    env: {
      ...process.env,
      KEELSON_ASAN: execFileSync("cc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim(),
      LSAN_OPTIONS: `suppressions=${join(here, "sanitized-node-leaks.txt")}:print_suppressions=0`,
    },
  },
);
process.exit(status === 0 && !isBroken ? 0 : 1);
