import { Code, StatusError } from "@keelson/base/status.ts";

/** A header block, before extended headers are applied to it. */
export interface TarHeader {
  name: string;
  /** One character. */
  type: string;
  linkName: string;
  mode: number;
  uid: number;
  gid: number;
  sizeBytes: number;
  mtimeSec: number;
  deviceMajor: number;
  deviceMinor: number;
}

export const blockBytes = 512;

/**
 * Parses the header block at `at`: POSIX ustar, or the older forms of GNU tar and V7 (tar(5)). Throws DataLoss when its
 * checksum is wrong, InvalidArgument for a malformed number.
 */
export function readHeader(block: Buffer, at: number): TarHeader {
  checkSum(block, at);
  const magic = block.toString("latin1", at + 257, at + 263);
  // GNU's old magic is "ustar \0" and uses the prefix field for other things.
  const prefix = magic === "ustar\0" ? text(block, at + 345, 155) : "";
  const isUstar = magic.startsWith("ustar");
  const name = text(block, at, 100);
  const type = String.fromCharCode(block[at + 156] as number);
  const isDevice = type === "3" || type === "4";
  return {
    name: prefix === "" ? name : `${prefix}/${name}`,
    type,
    linkName: text(block, at + 157, 100),
    mode: number(block, at + 100, 8, "mode"),
    uid: number(block, at + 108, 8, "uid"),
    gid: number(block, at + 116, 8, "gid"),
    sizeBytes: number(block, at + 124, 12, "size"),
    mtimeSec: number(block, at + 136, 12, "mtime"),
    deviceMajor: isUstar && isDevice ? number(block, at + 329, 8, "device major") : 0,
    deviceMinor: isUstar && isDevice ? number(block, at + 337, 8, "device minor") : 0,
  };
}

/** Whether a block is all zero, as the two at the end of an archive are. */
export function isZeroBlock(block: Buffer, at: number): boolean {
  // A header's name is hardly ever empty, so the first byte nearly always decides.
  for (let i = at; i < at + blockBytes; i += 1) if (block[i] !== 0) return false;
  return true;
}

function checkSum(block: Buffer, at: number): void {
  const expected = Number.parseInt(text(block, at + 148, 8), 8);
  let unsigned = 8 * 0x20;
  let high = 0;
  for (let i = at; i < at + blockBytes; i += 1) {
    if (i === at + 148) i += 8;
    const byte = block[i] as number;
    unsigned += byte;
    high += byte >> 7;
  }
  // Some old archivers added signed bytes, which gives 256 less for each byte above 127.
  if (expected !== unsigned && expected !== unsigned - 256 * high)
    throw new StatusError(Code.DataLoss, "tar header has a wrong checksum: the layer is damaged or not a tar archive");
}

function text(block: Buffer, at: number, length: number): string {
  const end = block.indexOf(0, at);
  return block.toString("latin1", at, end === -1 || end > at + length ? at + length : end);
}

/** Octal digits, or GNU's base-256 form when the first bit is set. */
function number(block: Buffer, at: number, length: number, what: string): number {
  if (((block[at] as number) & 0x80) !== 0) return base256(block, at, length, what);
  let value = 0;
  let i = at;
  const end = at + length;
  while (i < end && block[i] === 0x20) i += 1;
  for (; i < end; i += 1) {
    const digit = (block[i] as number) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  if (i < end && block[i] !== 0 && block[i] !== 0x20)
    throw new StatusError(Code.InvalidArgument, `tar header: ${what} is not a number`);
  return value;
}

function base256(block: Buffer, at: number, length: number, what: string): number {
  const negative = ((block[at] as number) & 0x40) !== 0;
  let value = (block[at] as number) & 0x7f;
  if (negative) value -= 0x80;
  for (let i = at + 1; i < at + length; i += 1) value = value * 256 + (block[i] as number);
  if (!Number.isSafeInteger(value)) throw new StatusError(Code.InvalidArgument, `tar header: ${what} is too large`);
  return value;
}
