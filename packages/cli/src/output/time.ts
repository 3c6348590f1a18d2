/** What crictl prints for a time that is not set: Go's zero time. */
export const zeroTime = "0001-01-01T00:00:00Z";

/** Nanoseconds since 1970 as RFC 3339 in the local zone; the second's fraction has no zeros at its end. */
export function rfc3339Nano(ns: bigint): string {
  const { date, time, fraction, offsetMinutes } = localParts(ns);
  return `${date}T${time}${fraction}${offsetMinutes === 0 ? "Z" : offsetText(offsetMinutes, ":")}`;
}

/** As Go prints a time: `2026-11-21 03:11:31.9472586 +0000 UTC`. */
export function goTime(ns: bigint): string {
  const { date, time, fraction, offsetMinutes, ms } = localParts(ns);
  return `${date} ${time}${fraction} ${offsetText(offsetMinutes, "")} ${zoneName(ms)}`;
}

function localParts(ns: bigint) {
  const fractionNs = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  const ms = Number((ns - fractionNs) / 1_000_000n);
  const offsetMinutes = -new Date(ms).getTimezoneOffset();
  const [date, time] = new Date(ms + offsetMinutes * 60_000).toISOString().slice(0, 19).split("T") as [string, string];
  const digits = fractionNs.toString().padStart(9, "0").replace(/0+$/, "");
  return { date, time, fraction: digits === "" ? "" : `.${digits}`, offsetMinutes, ms };
}

function offsetText(minutes: number, separator: string): string {
  const two = (n: number) => String(Math.trunc(n)).padStart(2, "0");
  const size = Math.abs(minutes);
  return `${minutes < 0 ? "-" : "+"}${two(size / 60)}${separator}${two(size % 60)}`;
}

function zoneName(ms: number): string {
  const parts = new Intl.DateTimeFormat("en-US", { timeZoneName: "short" }).formatToParts(ms);
  return parts.find((part) => part.type === "timeZoneName")?.value ?? "UTC";
}
