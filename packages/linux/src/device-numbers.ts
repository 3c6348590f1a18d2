import type { Stats } from "node:fs";

/** Type and numbers of a device node; undefined when it is none. */
export function deviceNumbers(stat: Stats): { type: "c" | "b"; major: number; minor: number } | undefined {
  const type = stat.isCharacterDevice() ? "c" : stat.isBlockDevice() ? "b" : undefined;
  if (type === undefined) return undefined;
  // makedev(3) as glibc has it.
  const major = ((stat.rdev >>> 8) & 0xfff) | Number((BigInt(stat.rdev) >> 32n) & 0xfffff000n);
  const minor = (stat.rdev & 0xff) | ((stat.rdev >>> 12) & 0xffffff00);
  return { type, major, minor };
}
