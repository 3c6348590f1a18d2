import { Code, StatusError } from "@keelson/base/status.ts";
import { parseDurationMs } from "../duration.ts";

const datePattern = /^(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d\d:\d\d)?$/i;

/**
 * `--since` in ns since 1970: a duration before now (`42m`), a time in RFC 3339 or its first parts (local without a
 * zone), or seconds since 1970. Throws InvalidArgument.
 */
export function parseSinceNs(text: string, nowMs: number): bigint {
  const unix = /^(\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (unix !== null) return BigInt(unix[1]!) * 1_000_000_000n + BigInt((unix[2] ?? "").padEnd(9, "0"));
  const date = datePattern.exec(text);
  if (date === null) return BigInt(Math.round((nowMs - parseDurationMs(text, "--since")) * 1e6));
  const [, day, hour = "00", minute = "00", second = "00", fraction = "", zone = ""] = date;
  // A date without a zone means local time here; Date.parse takes it so only when a time follows.
  const ms = Date.parse(`${day}T${hour}:${minute}:${second}${zone.toUpperCase()}`);
  if (Number.isNaN(ms)) throw new StatusError(Code.InvalidArgument, `--since ${text}: this time does not exist`);
  return BigInt(ms) * 1_000_000n + BigInt(fraction.padEnd(9, "0"));
}
