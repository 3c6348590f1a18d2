import { safeText } from "./safe-text.ts";

/** `Name: value` lines, escaped; an undefined value leaves its line out. */
export function formatFields(fields: readonly (readonly [name: string, value: string | undefined])[]): string {
  return fields.map(([name, value]) => (value === undefined ? "" : `${name}: ${safeText(value)}\n`)).join("");
}

/** Labels or annotations below their title, sorted by key; empty when there are none. */
export function formatMap(title: string, map: Record<string, string>): string {
  const keys = Object.keys(map).sort();
  if (keys.length === 0) return "";
  return `${title}:\n${keys.map((key) => `\t${safeText(key)} -> ${safeText(map[key]!)}\n`).join("")}`;
}

/** The verbose info of a status on one line, as Go prints a map. */
export function formatInfo(info: Record<string, string>): string {
  const pairs = Object.keys(info)
    .sort()
    .map((key) => `${key}:${info[key]!}`);
  return `Info: ${safeText(`map[${pairs.join(" ")}]`)}\n`;
}

/** Undefined for an empty text, so that formatFields leaves its line out. */
export function orNone(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}
