const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;

/** How long ago, in crictl's words: `Less than a second ago`, `About a minute ago`, `3 hours ago`. */
export function humanAge(createdAtNs: bigint, nowMs: number): string {
  return `${humanDuration(Number(BigInt(nowMs) * 1_000_000n - createdAtNs) / 1e6)} ago`;
}

/** A duration in the words and the steps of docker's go-units, which crictl prints. */
export function humanDuration(ms: number): string {
  const seconds = Math.trunc(ms / second);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.trunc(ms / minute);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.trunc(ms / hour + 0.5);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 14) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 60) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc(ms / hour / 24 / 365)} years`;
}

const units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/** Bytes with three digits in steps of 1000: `1.03MB`, `306kB`. */
export function humanSize(bytes: number | bigint): string {
  let size = Number(bytes);
  let unit = 0;
  // 999.5 would round to 1000, which go-units prints as 1e+03; a person expects the next unit.
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${Number(size.toPrecision(3))}${units[unit]}`;
}

/** An id as tables show it: without `sha256:` and cut to 13 characters. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 13);
}
