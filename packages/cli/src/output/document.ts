import { Code, StatusError } from "@keelson/base/status.ts";
import { fieldsOf, toJson } from "@keelson/cri/json.ts";
import { stringify } from "yaml";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** The formats that `-o` takes besides `table`. */
export type DocumentFormat = "json" | "yaml";

/** Checks the value of `-o`. Throws InvalidArgument with what is allowed. */
export function outputFormat<F extends string>(given: string, allowed: readonly F[]): F {
  const format = allowed.find((one) => one === given);
  if (format !== undefined) return format;
  const hint = given === "go-template" ? "; keelctl has no Go templates, `-o json` with jq does the same" : "";
  throw new StatusError(Code.InvalidArgument, `-o ${given}: must be one of ${allowed.join(", ")}${hint}`);
}

/** A document as crictl writes it: JSON with two spaces, or YAML with sorted keys and an empty line after it. */
export function formatDocument(value: Json, format: DocumentFormat): string {
  if (format === "json") return `${JSON.stringify(value, null, 2)}\n`;
  // YAML 1.1 quotes what older parsers would read as a boolean: y, no, on.
  return `${stringify(value, { indentSeq: false, lineWidth: 0, sortMapEntries: true, version: "1.1" })}\n`;
}

/** A message as protojson with defaults prints it: absent messages are left out, the keys of maps sorted. */
export function messageJson(type: string, value: object): { [key: string]: Json } {
  return tidy(type, toJson(type, value) as { [key: string]: Json });
}

function tidy(type: string, json: { [key: string]: Json }): { [key: string]: Json } {
  const result: { [key: string]: Json } = {};
  for (const field of fieldsOf(type)) {
    const value = json[field.key] ?? null;
    if (field.kind === "map") result[field.key] = sortKeys(value);
    else if (field.kind !== "message") result[field.key] = value;
    else if (Array.isArray(value))
      result[field.key] = value.map((one) => tidy(field.of!, one as { [key: string]: Json }));
    else if (value !== null) result[field.key] = tidy(field.of!, value as { [key: string]: Json });
  }
  return result;
}

/** The same value with the keys of every object in order, as Go writes maps. */
export function sortKeys(value: Json): Json {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, one]) => [key, sortKeys(one)]),
  );
}
