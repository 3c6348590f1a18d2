/**
 * A module for `node --import`: the test file runs in a sandbox with its own network, and fails when it leaves anything
 * behind there. scripts/test.ts runs every host test file this way; by hand:
 *
 *     bin/node --import @keelson/testkit/sandboxed.ts packages/linux/src/mount.host.test.ts
 */
import { relative } from "node:path";
import { isMainThread } from "node:worker_threads";
import { measure } from "./file-times.ts";
import { inOwnSandbox, reexecInSandbox } from "./host-sandbox.ts";
import { leftBehind, takeSnapshot } from "./leaks.ts";
import { failOnLingering } from "./lingering.ts";

// Workers and forks of a test file inherit `--import`, as does the runner with `--test`: those stay where they are.
if (isMainThread && process.argv[1]?.endsWith(".test.ts") && !process.execArgv.includes("--test")) {
  if (!inOwnSandbox()) process.on("exit", measure(relative(process.cwd(), process.argv[1])));
  await reexecInSandbox({ net: true });
  if (inOwnSandbox()) {
    failOnLeaks(process.argv[1]);
    failOnLingering(process.argv[1]);
  }
}

function failOnLeaks(program: string): void {
  const before = takeSnapshot();
  process.on("exit", () => {
    const left = leftBehind(before);
    if (left.length === 0) return;
    process.stderr.write(`${program} left behind:\n${left.map((sentence) => `  ${sentence}\n`).join("")}`);
    process.exitCode = 1;
  });
}
