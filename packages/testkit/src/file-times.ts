/**
 * How long each test file took, for `npm test -- --times`: wall time, and CPU time with that of all processes it started.
 */
import { appendFileSync, readFileSync } from "node:fs";

export interface FileTime {
  readonly file: string;
  readonly wallMs: number;
  readonly cpuMs: number;
}

/** Names the file that times are gathered in; without it nothing is measured. */
export const timesVariable = "KEELSON_TEST_TIMES";

/** Starts to measure a test file; whoever calls this calls the returned function when the file is done. */
export function measure(file: string): () => void {
  const times = process.env[timesVariable];
  if (times === undefined) return () => {};
  const [startedAtMs, cpuBeforeMs] = [performance.now(), cpuMs()];
  return () => {
    const time: FileTime = { file, wallMs: performance.now() - startedAtMs, cpuMs: cpuMs() - cpuBeforeMs };
    appendFileSync(times, `${JSON.stringify(time)}\n`); // one write(2): several processes append at once
  };
}

/** What has been gathered in a file. */
export function readTimes(file: string): FileTime[] {
  const lines = readFileSync(file, "utf8").split("\n").filter(Boolean);
  return lines.map((line) => JSON.parse(line) as FileTime);
}

/** The CPU time of this process, its ended children and theirs. */
function cpuMs(): number {
  const stat = readFileSync("/proc/self/stat", "utf8");
  // proc_pid_stat(5): utime, stime, cutime and cstime in ticks of 10 ms; the name in parentheses may hold anything.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
}
