const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** A size for people to read: `15 MiB`, `1.5 GiB`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number(value.toFixed(1))} ${units[unit]!}`;
}
