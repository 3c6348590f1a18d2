import { Code, StatusError } from "@keelson/base/status.ts";

/** The records of an extended header. Values are binary strings; the last one for a key counts. */
export type PaxRecords = Map<string, string>;

/** More records than any archiver writes. */
const recordsLimit = 10_000;

/**
 * Parses `LENGTH KEY=VALUE\n` records (POSIX pax, "pax Extended Header"). A value may contain any bytes, including
 * newlines. Throws InvalidArgument.
 */
export function parsePax(bytes: Buffer): PaxRecords {
  const records: PaxRecords = new Map();
  let at = 0;
  while (at < bytes.length) {
    // GNU tar and others pad with zeros.
    if (bytes[at] === 0) break;
    const space = bytes.indexOf(0x20, at);
    const digits = space === -1 || space - at > 10 ? "" : bytes.toString("latin1", at, space);
    const end = at + (/^[1-9]\d*$/.test(digits) ? Number(digits) : Number.NaN);
    const equals = bytes.indexOf(0x3d, space);
    if (!(end <= bytes.length) || equals === -1 || equals >= end || bytes[end - 1] !== 0x0a) throw malformed();
    records.set(bytes.toString("latin1", space + 1, equals), bytes.toString("latin1", equals + 1, end - 1));
    if (records.size > recordsLimit)
      throw new StatusError(Code.InvalidArgument, `tar extended header has more than ${recordsLimit} records`);
    at = end;
  }
  return records;
}

/** Parses a pax time, decimal seconds with a fraction, without rounding. Throws InvalidArgument. */
export function parsePaxTime(value: string): { sec: number; nsec: number } {
  const match = /^(-?)(\d{1,15})(?:\.(\d*))?$/.exec(value);
  if (match === null)
    throw new StatusError(Code.InvalidArgument, `tar extended header: "${value.slice(0, 40)}" is not a time`);
  const sec = Number(match[2]);
  const nsec = Number((match[3] ?? "").slice(0, 9).padEnd(9, "0"));
  if (match[1] === "") return { sec, nsec };
  // -1.25 s is 750,000,000 ns after -2 s.
  return nsec === 0 ? { sec: -sec, nsec } : { sec: -sec - 1, nsec: 1_000_000_000 - nsec };
}

/** Parses a pax number. Throws InvalidArgument. */
export function parsePaxNumber(value: string): number {
  if (!/^-?\d{1,16}$/.test(value) || !Number.isSafeInteger(Number(value)))
    throw new StatusError(Code.InvalidArgument, `tar extended header: "${value.slice(0, 40)}" is not a number`);
  return Number(value);
}

function malformed(): StatusError {
  return new StatusError(Code.InvalidArgument, "tar extended header is malformed");
}
