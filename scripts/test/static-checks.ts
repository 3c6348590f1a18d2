import { execFile } from "node:child_process";
import { join } from "node:path";

interface StaticCheck {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
}

// oxlint's type-aware half is TypeScript itself, so the types cost a third of what they would with a tsc beside it. The
// versions of oxlint-tsgolint and typescript in package.json belong together, so that both say the same.
const staticChecks: readonly StaticCheck[] = [
  { name: "types and lint", command: "oxlint", args: ["--type-aware", "--type-check"] },
  { name: "format", command: "oxfmt", args: ["--check", "."] },
];

/** Checks the sources below `root` without running them, all at once, and prints each result. Returns what failed. */
export async function runStaticChecks(root: string): Promise<string[]> {
  const results = await Promise.all(staticChecks.map((check) => runStaticCheck(root, check)));
  return results.flatMap((failure) => failure ?? []);
}

async function runStaticCheck(root: string, { name, command, args }: StaticCheck): Promise<string | undefined> {
  const startedAtMs = performance.now();
  const file = join(root, "node_modules/.bin", command);
  const { isGood, output } = await new Promise<{ isGood: boolean; output: string }>((resolve) => {
    execFile(file, args, { cwd: root, maxBuffer: Infinity }, (error, stdout, stderr) =>
      resolve({ isGood: error === null, output: stdout + stderr }),
    );
  });
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
  // In one write, because the results of tests are printed meanwhile.
  process.stdout.write(isGood ? `✔ ${name} (${seconds} s)\n` : `${output}✖ ${name} (${seconds} s)\n`);
  return isGood ? undefined : `${name}: see above`;
}
