import { humanSize } from "../output/human.ts";
import { safeText } from "../output/safe-text.ts";
import type { SortKey, UsageRow } from "./usage-row.ts";

interface Column {
  readonly title: string;
  readonly isNumber: boolean;
  readonly sort?: SortKey;
  readonly text: (row: UsageRow) => string;
}

const columns: readonly Column[] = [
  { title: "NAMESPACE", isNumber: false, text: (row) => row.namespace },
  { title: "POD", isNumber: false, text: (row) => row.pod },
  { title: "CONTAINER", isNumber: false, text: (row) => row.name },
  { title: "CPU%", isNumber: true, sort: "cpu", text: (row) => row.cpuPercent?.toFixed(1) ?? "-" },
  { title: "MEM", isNumber: true, sort: "memory", text: (row) => size(row.memoryBytes) },
  { title: "LIMIT", isNumber: true, text: (row) => size(row.memoryLimitBytes) },
  { title: "MEM%", isNumber: true, text: memoryPercent },
  { title: "RX/s", isNumber: true, sort: "network", text: (row) => size(row.receivedPerSecond) },
  { title: "TX/s", isNumber: true, text: (row) => size(row.sentPerSecond) },
  { title: "IO/s", isNumber: true, sort: "io", text: (row) => size(row.ioPerSecond) },
  {
    title: "PSI c/m/i",
    isNumber: true,
    text: ({ pressure: { cpu, memory, io } }) => [cpu, memory, io].map((one) => one?.toFixed(0) ?? "-").join("/"),
  },
  { title: "RESTARTS", isNumber: true, sort: "restarts", text: (row) => String(row.restarts) },
];

export interface TableSize {
  /** Characters in a line; Infinity for lines of any length. */
  readonly columns: number;
  /** Lines, the titles included; Infinity for all. */
  readonly rows: number;
}

/** Rows below their titles; a star marks what they are sorted by. What does not fit is cut off. */
export function usageTable(
  rows: readonly UsageRow[],
  sort: SortKey,
  { columns: width, rows: height }: TableSize,
): string {
  const titles = columns.map((column) => (column.sort === sort ? `${column.title}*` : column.title));
  const cells = rows
    .slice(0, Math.max(0, height - 1))
    .map((row) => columns.map((column) => safeText(column.text(row))));
  const widths = titles.map((title, i) => Math.max(title.length, ...cells.map((line) => Array.from(line[i]!).length)));
  const line = (texts: string[]) =>
    texts
      .map((text, i) => pad(text, widths[i]!, columns[i]!.isNumber))
      .join("  ")
      .trimEnd();
  return [titles, ...cells].map((texts) => `${Array.from(line(texts)).slice(0, width).join("")}\n`).join("");
}

function pad(text: string, width: number, isNumber: boolean): string {
  const space = " ".repeat(width - Array.from(text).length);
  return isNumber ? space + text : text + space;
}

function size(bytes: number | undefined): string {
  return bytes === undefined ? "-" : humanSize(Math.round(bytes));
}

function memoryPercent({ memoryBytes, memoryLimitBytes }: UsageRow): string {
  return memoryBytes === undefined || memoryLimitBytes === undefined
    ? "-"
    : ((memoryBytes / memoryLimitBytes) * 100).toFixed(1);
}
