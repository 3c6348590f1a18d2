import { globSync } from "node:fs";

/** The test files of the repository, relative to its root. */
export interface TestFiles {
  /** Need neither root nor a sandbox. */
  readonly unit: readonly string[];
  readonly host: readonly string[];
}

/** Those that have one of `parts` in their path; all of them when there are none. In the directory `root`. */
export function findTestFiles(root: string, parts: readonly string[]): TestFiles {
  const files = globSync(["packages/*/{src,host-tests,scripts}/**/*.test.ts", "scripts/**/*.test.ts"], { cwd: root })
    .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)))
    .sort();
  const isHost = (file: string) => file.endsWith(".host.test.ts");
  return { unit: files.filter((file) => !isHost(file)), host: files.filter(isHost) };
}
