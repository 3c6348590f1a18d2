import type { Stats } from "node:fs";

/** Type and numbers of a device node; undefined for any other file. */
export function deviceNumbers(stat: Stats): { type: "c" | "b"; major: number; minor: number } | undefined {
  const type = stat.isCharacterDevice() ? "c" : stat.isBlockDevice() ? "b" : undefined;
  return type === undefined ? undefined : { type, ...splitDevice(stat.rdev) };
}

/** The numbers in `st_dev` and `st_rdev`, in glibc's encoding, makedev(3). */
export function splitDevice(device: number): { major: number; minor: number } {
  const major = ((device >>> 8) & 0xfff) | Number((BigInt(device) >> 32n) & 0xfffff000n);
  const minor = (device & 0xff) | ((device >>> 12) & 0xffffff00);
  return { major, minor };
}
