import { safeText } from "../output/safe-text.ts";
import type { WaterfallLine, WaterfallPart } from "./waterfall.ts";

const maxLabel = 44;
const timeWidth = 11;
const bars = ["█", "▒", "░"];

/**
 * A waterfall for a terminal: a bar for each operation, its stages and their details below it, and how long each took.
 */
export function waterfallText(parts: readonly WaterfallPart[], columns: number): string {
  const labels = parts.flatMap((part) => part.lines).map((line) => lengthOf(labelOf(line)));
  const labelWidth = Math.min(maxLabel, Math.max(0, ...labels), Math.max(10, Math.floor(columns / 2)));
  const barWidth = Math.max(10, columns - labelWidth - timeWidth - 2);
  return parts.map((part) => partText(part, labelWidth, barWidth)).join("\n");
}

function partText(part: WaterfallPart, labelWidth: number, barWidth: number): string {
  const title =
    part.startMs === 0
      ? `took ${duration(part.durationMs)}`
      : `${duration(part.startMs)} after the beginning, took ${duration(part.durationMs)}`;
  const lines = part.lines.map((line) => {
    const text = `${fit(labelOf(line), labelWidth)} ${bar(line, part.durationMs, barWidth)} ${duration(line.durationMs).padStart(timeWidth - 1)}`;
    return line.note === undefined ? text : `${text}\n  ${safeText(line.note)}`;
  });
  return `${title}\n${lines.map((line) => `${line}\n`).join("")}`;
}

function labelOf({ depth, label }: WaterfallLine): string {
  return "  ".repeat(depth) + safeText(label);
}

/** At least one cell wide, so that what took no time is visible too. */
function bar({ depth, startMs, durationMs }: WaterfallLine, wholeMs: number, width: number): string {
  const scale = wholeMs === 0 ? 0 : width / wholeMs;
  const start = Math.min(width - 1, Math.floor(startMs * scale));
  const length = Math.max(1, Math.min(width - start, Math.round(durationMs * scale)));
  return (
    " ".repeat(start) + bars[Math.min(depth, bars.length - 1)]!.repeat(length) + " ".repeat(width - start - length)
  );
}

function fit(text: string, width: number): string {
  const length = lengthOf(text);
  return length <= width
    ? text + " ".repeat(width - length)
    : `${Array.from(text)
        .slice(0, width - 1)
        .join("")}…`;
}

function lengthOf(text: string): number {
  return Array.from(text).length;
}

/** `3.2 ms`, `1.25 s`, `5 m 3 s`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${ms.toFixed(1)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(2)} s`;
  return `${Math.floor(ms / 60_000)} m ${Math.floor((ms % 60_000) / 1000)} s`;
}
