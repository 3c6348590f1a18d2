import { Code, StatusError } from "@keelson/base/status.ts";

const unitMs: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * A duration in Go's spelling (`1m30s`, `500ms`) or a plain number of seconds, in ms.
 * Throws InvalidArgument naming `what`.
 */
export function parseDurationMs(text: string, what: string): number {
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const match = /^(-?)((?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+)$/.exec(text);
  if (match === null) throw new StatusError(Code.InvalidArgument, `${what} ${text}: write it like 90s, 1m30s or 500ms`);
  const parts = match[2]!.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g);
  const ms = [...parts].reduce((sum, [, number, unit]) => sum + Number(number) * unitMs[unit!]!, 0);
  return match[1] === "-" ? -ms : ms;
}

/** As parseDurationMs; undefined for a flag that is not given, or is 0. */
export function optionalDurationMs(text: string | undefined, what: string): number | undefined {
  const ms = text === undefined ? 0 : parseDurationMs(text, what);
  return ms > 0 ? ms : undefined;
}
