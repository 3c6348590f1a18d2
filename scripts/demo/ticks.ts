import { existsSync, readFileSync } from "node:fs";

/** A line that the demo's container logged: its number, and when the supervisor wrote it. */
export interface Tick {
  readonly number: number;
  readonly atMs: number;
}

/** The lines `tick N` of a log in the CRI format: time, stream, F or P, text. */
export function readTicks(logFile: string): Tick[] {
  if (!existsSync(logFile)) return [];
  const lines = readFileSync(logFile, "utf8").matchAll(/^(\S+) stdout F tick (\d+)$/gm);
  return [...lines].map(([, time, number]) => ({ number: Number(number), atMs: Date.parse(time ?? "") }));
}

/** Throws when a number from 1 to the last is missing, repeated or out of order. */
export function assertGapless(ticks: readonly Tick[]): void {
  const wrong = ticks.findIndex(({ number }, index) => number !== index + 1);
  if (wrong >= 0) throw new Error(`line ${wrong + 1} of the log is tick ${ticks[wrong]?.number}`);
}
