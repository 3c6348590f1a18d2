import { safeText } from "./safe-text.ts";

/** crictl's columns are at least 20 wide, with at least 3 spaces before the next one. */
const minWidth = 20;
const padding = 3;

/** Rows as a table in crictl's layout, for scripts that cut columns: the last one is not padded. Escapes cells. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [header, ...rows].map((row) => row.map(safeText));
  const widths = header.map((_, column) => Math.max(minWidth, ...cells.map((row) => lengthOf(row[column]!) + padding)));
  const line = (row: string[]) =>
    row.map((cell, i) => (i === row.length - 1 ? cell : cell + " ".repeat(widths[i]! - lengthOf(cell)))).join("");
  return cells.map((row) => `${line(row)}\n`).join("");
}

/** Code points, as Go's tabwriter counts. */
function lengthOf(text: string): number {
  return Array.from(text).length;
}
