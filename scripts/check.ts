/**
 * `npm run check`: types, lint, format and the unit tests, without root; the quick loop. One exit code: not 0 when
 * anything failed.
 */
import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { join } from "node:path";

process.chdir(join(import.meta.dirname, ".."));
const unitFiles = globSync(["packages/*/{src,host-tests,scripts}/**/*.test.ts", "scripts/**/*.test.ts"])
  .filter((file) => !file.endsWith(".host.test.ts"))
  .sort();
const steps = [
  ["types", "node_modules/.bin/tsc", "--noEmit"],
  ["lint", "node_modules/.bin/oxlint", "--type-aware"],
  ["format", "node_modules/.bin/oxfmt", "--check", "."],
  ["unit tests", process.execPath, "--test", ...unitFiles],
] as const;
for (const [name, command, ...args] of steps) {
  const startedAtMs = performance.now();
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  console.log(`${status === 0 ? "✔" : "✖"} ${name} (${((performance.now() - startedAtMs) / 1000).toFixed(1)} s)`);
  if (status !== 0) process.exitCode = 1;
}
