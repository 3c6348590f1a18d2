import { type DocumentFormat, formatDocument, type Json, sortKeys } from "./output/document.ts";

/** One status with its verbose info, as the inspect commands and `info` print it. */
export interface StatusDocument {
  readonly status: { [key: string]: Json };
  readonly info: Record<string, string>;
  /** More members beside `status`. */
  readonly more?: { [key: string]: Json };
}

/** One object for one status and a list for several, keys in order: what crictl prints. */
export function formatStatuses(documents: readonly StatusDocument[], format: DocumentFormat): string {
  const values = documents.map(({ status, info, more }) => sortKeys({ status, ...more, ...infoValues(info) }));
  return formatDocument(values.length === 1 ? values[0]! : values, format);
}

/** The values of a runtime's info are JSON: objects become members, anything else text without its quotes. */
function infoValues(info: Record<string, string>): { [key: string]: Json } {
  return Object.fromEntries(
    Object.entries(info).map(([key, text]) => [
      key,
      text.startsWith("{") ? parsed(text) : text.replaceAll(/^"+|"+$/g, ""),
    ]),
  );
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return text;
  }
}
