import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type FileTime, readTimes, timesVariable } from "../../packages/testkit/src/file-times.ts";

const shownFiles = 20;

/** The times of all test files that are run while it exists, where somebody wants to know them. */
export class TimesReport implements Disposable {
  readonly #dir = mkdtempSync(join(tmpdir(), "keelson-times-"));
  readonly #file = join(this.#dir, "times.jsonl");

  private constructor() {
    writeFileSync(this.#file, "");
    process.env[timesVariable] = this.#file;
  }

  /** With `--times` among the arguments of this program. */
  static ifWanted(): TimesReport | undefined {
    return process.argv.includes("--times") ? new TimesReport() : undefined;
  }

  print(): void {
    process.stdout.write(timesTable(readTimes(this.#file)));
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true });
  }
}

/** The files that took longest, in seconds, and what all took together. */
export function timesTable(times: readonly FileTime[]): string {
  const total: FileTime = { file: `all ${times.length} files`, wallMs: 0, cpuMs: 0 };
  for (const { wallMs, cpuMs } of times)
    Object.assign(total, { wallMs: total.wallMs + wallMs, cpuMs: total.cpuMs + cpuMs });
  const slowest = times.toSorted((a, b) => b.wallMs - a.wallMs).slice(0, shownFiles);
  const seconds = (ms: number) => (ms / 1000).toFixed(1).padStart(8);
  const lines = [...slowest, total].map(({ file, wallMs, cpuMs }) => `${seconds(wallMs)}${seconds(cpuMs)}  ${file}`);
  return `${"wall s".padStart(8)}${"CPU s".padStart(8)}  file\n${lines.join("\n")}\n`;
}
