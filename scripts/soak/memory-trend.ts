import { median } from "../bench/statistics.ts";

/** One sample of a daemon's memory. */
export interface MemorySample {
  /** The number of the daemon, from 1. */
  readonly life: number;
  /** How long that daemon has been serving. */
  readonly ageMs: number;
  readonly rssKiB: number;
}

/** Whether memory is flat, with text for the summary; undefined when the run was too short to tell. */
export interface MemoryVerdict {
  readonly isFlat: boolean | undefined;
  readonly text: string;
}

/** A new daemon grows while code is compiled and the heap finds its size. */
const warmUpMs = 20_000;
/** The growth between lives that still counts as flat: absolute, and in parts of a hundred. */
const slackKiB = 8 * 1024;
const slackFraction = 0.1;
/** The part of one long life in which the heap finds its size. */
const longWarmUpFraction = 0.25;
const shortestLongLifeMs = 4 * 60_000;

/**
 * Judges whether a daemon's memory is flat. When daemons are killed every minute, one life is too short for a slope,
 * because a young heap grows. But what accumulates on disk and on the machine would make each daemon larger than the
 * one before. So lives are compared: the medians after `warmUpMs`, in the last third of the lives and in the first
 * third. For one daemon that lived for minutes, the last third of its life is compared with the first, after a quarter
 * for warming up. Flat means growth by no more than 8 MiB or a tenth, whichever is more.
 */
export function judgeMemory(samples: readonly MemorySample[]): MemoryVerdict {
  const lives = Map.groupBy(samples, ({ life }) => life);
  const longest = [...lives.values()].toSorted((a, b) => (b.at(-1)?.ageMs ?? 0) - (a.at(-1)?.ageMs ?? 0))[0];
  if (longest !== undefined && longest.at(-1)!.ageMs >= shortestLongLifeMs) {
    const settled = longest.slice(Math.floor(longest.length * longWarmUpFraction));
    return compare("in the first and last third of a daemon's life", ...thirds(settled.map(({ rssKiB }) => rssKiB)));
  }
  const perLife = [...lives.values()].flatMap((life) => {
    const settled = life.filter(({ ageMs }) => ageMs >= warmUpMs).map(({ rssKiB }) => rssKiB);
    return settled.length < 10 ? [] : [median(settled)];
  });
  if (perLife.length < 3)
    return {
      isFlat: undefined,
      text: "not judged: that takes three daemons' lives of half a minute, or one of four minutes",
    };
  return compare(`in the first and last third of ${perLife.length} daemons' lives`, ...thirds(perLife));
}

function thirds(values: readonly number[]): [first: number, last: number] {
  const length = Math.max(1, Math.floor(values.length / 3));
  return [median(values.slice(0, length)), median(values.slice(-length))];
}

function compare(where: string, firstKiB: number, lastKiB: number): MemoryVerdict {
  const isFlat = lastKiB - firstKiB <= Math.max(slackKiB, firstKiB * slackFraction);
  const mib = (kib: number) => (kib / 1024).toFixed(1);
  return { isFlat, text: `${mib(firstKiB)} and ${mib(lastKiB)} MiB ${where}: ${isFlat ? "flat" : "it grows"}` };
}
