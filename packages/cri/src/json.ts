import { Code, StatusError } from "@keelson/base/status.ts";
import type { FieldDescriptor } from "./descriptor.ts";
import { enums, messages } from "./gen/descriptor.ts";

/**
 * A message as JSON (https://protobuf.dev/programming-guides/json/): camel case, enums by name, 64-bit numbers as
 * strings, bytes in base64. Unset fields are written too, as crictl does, so that scripts always find them; an absent
 * message is null.
 *
 * @param type the message's name, such as `PodSandboxStatus`
 */
export function toJson(type: string, value: object): Record<string, unknown> {
  const json: Record<string, unknown> = {};
  for (const field of fieldsOf(type)) {
    const v = (value as Record<string, unknown>)[field.key];
    json[field.key] =
      field.repeated === true ? ((v ?? []) as unknown[]).map((e) => valueToJson(field, e)) : valueToJson(field, v);
  }
  return json;
}

/**
 * A message as JSON that `fromJson` and crictl's `create` and `runp` accept: snake case, enums and 64-bit numbers as
 * numbers (as text beyond 2^53), bytes in base64, and only fields that are set.
 */
export function toConfigJson(type: string, value: object): Record<string, unknown> {
  const json: Record<string, unknown> = {};
  for (const field of fieldsOf(type)) {
    const v = (value as Record<string, unknown>)[field.key];
    const shown =
      field.repeated === true
        ? ((v ?? []) as unknown[]).map((e) => valueToConfigJson(field, e))
        : valueToConfigJson(field, v);
    if (!isDefault(field, shown)) json[field.name] = shown;
  }
  return json;
}

function valueToConfigJson(field: FieldDescriptor, v: unknown): unknown {
  if (v === undefined) return undefined;
  if (field.kind === "message") return toConfigJson(field.of!, v as object);
  if (field.kind === "enum") return v;
  if (typeof v === "bigint") return Number.isSafeInteger(Number(v)) ? Number(v) : String(v);
  return valueToJson(field, v);
}

/**
 * What proto3 leaves out on the wire. An empty message is not left out, and has a meaning: `run_as_user: {}` is root.
 */
function isDefault(field: FieldDescriptor, shown: unknown): boolean {
  if (shown === undefined || shown === "" || shown === false || shown === 0) return true;
  if (field.kind === "map") return Object.keys(shown as object).length === 0;
  return Array.isArray(shown) && shown.length === 0;
}

/**
 * Reads a message from JSON or YAML that a person wrote: names in camel or snake case, enums by name or number, 64-bit
 * numbers as numbers or strings. Throws InvalidArgument with the path of what is unknown or has the wrong type. The
 * result is for `X.fromPartial`.
 */
export function fromJson(type: string, json: unknown, path = type): Record<string, unknown> {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw invalid(path, "must be an object");
  const fields = fieldsOf(type);
  const message: Record<string, unknown> = {};
  for (const [name, v] of Object.entries(json)) {
    const field = fields.find((f) => f.name === name || f.key === name);
    if (field === undefined)
      throw invalid(`${path}.${name}`, `is not a field of ${type}; it has ${fields.map((f) => f.name).join(", ")}`);
    if (v === null || v === undefined) continue;
    message[field.key] = fieldFromJson(field, v, `${path}.${name}`);
  }
  return message;
}

/** The fields of a message. Throws for a name that is not a message of the CRI, which is a bug. */
export function fieldsOf(type: string): readonly FieldDescriptor[] {
  const fields = messages[type];
  if (fields === undefined) throw new Error(`the CRI has no message ${type}`);
  return fields;
}

/** The name of an enum's value, or the number as text when it has none. */
export function enumName(type: string, value: number): string {
  return Object.entries(enums[type] ?? {}).find(([, number]) => number === value)?.[0] ?? String(value);
}

function valueToJson(field: FieldDescriptor, v: unknown): unknown {
  switch (field.kind) {
    case "message":
      return v === undefined ? null : toJson(field.of!, v as object);
    case "enum":
      return enumName(field.of!, (v as number | undefined) ?? 0);
    case "int64":
    case "uint64":
      return String((v as bigint | undefined) ?? 0n);
    case "bytes":
      return Buffer.from((v as Uint8Array | undefined) ?? []).toString("base64");
    case "map":
      return { ...(v as Record<string, string> | undefined) };
    case "string":
      return v ?? "";
    case "bool":
      return v ?? false;
    case "int32":
    case "uint32":
    case "double":
      return v ?? 0;
  }
}

function fieldFromJson(field: FieldDescriptor, v: unknown, path: string): unknown {
  if (field.repeated !== true) return valueFromJson(field, v, path);
  if (!Array.isArray(v)) throw invalid(path, "must be a list");
  return v.map((e, i) => valueFromJson(field, e, `${path}[${i}]`));
}

function valueFromJson(field: FieldDescriptor, v: unknown, path: string): unknown {
  switch (field.kind) {
    case "message":
      return fromJson(field.of!, v, path);
    case "enum":
      return enumFromJson(field.of!, v, path);
    case "int64":
    case "uint64":
      return integerFromJson(v, path, field.kind === "int64" ? [-(2n ** 63n), 2n ** 63n - 1n] : [0n, 2n ** 64n - 1n]);
    case "int32":
    case "uint32":
      return Number(
        integerFromJson(v, path, field.kind === "int32" ? [-(2n ** 31n), 2n ** 31n - 1n] : [0n, 2n ** 32n - 1n]),
      );
    case "double":
      if (typeof v !== "number") throw invalid(path, "must be a number");
      return v;
    case "bytes":
      if (typeof v !== "string") throw invalid(path, "must be base64 text");
      return Buffer.from(v, "base64");
    case "map":
      return mapFromJson(v, path);
    case "string":
      if (typeof v !== "string") throw invalid(path, "must be text");
      return v;
    case "bool":
      if (typeof v !== "boolean") throw invalid(path, "must be true or false");
      return v;
  }
}

function enumFromJson(type: string, v: unknown, path: string): number {
  const values = enums[type]!;
  if (typeof v === "string" && Object.hasOwn(values, v)) return values[v]!;
  if (typeof v === "number" && Object.values(values).includes(v)) return v;
  throw invalid(
    path,
    `must be one of ${Object.entries(values)
      .map(([name, n]) => `${name} (${n})`)
      .join(", ")}`,
  );
}

function integerFromJson(v: unknown, path: string, [min, max]: [bigint, bigint]): bigint {
  if (!isWhole(v)) throw invalid(path, "must be a whole number (as text beyond 2^53)");
  const n = BigInt(v);
  if (n < min || n > max) throw invalid(path, `must be from ${min} to ${max}`);
  return n;
}

function isWhole(v: unknown): v is number | string {
  return typeof v === "number" ? Number.isSafeInteger(v) : typeof v === "string" && /^-?\d{1,20}$/.test(v);
}

function mapFromJson(v: unknown, path: string): Record<string, string> {
  if (typeof v !== "object" || v === null || Array.isArray(v)) throw invalid(path, "must be an object of strings");
  for (const [key, value] of Object.entries(v)) {
    if (typeof value !== "string") throw invalid(`${path}.${key}`, "must be text");
  }
  return v as Record<string, string>;
}

function invalid(path: string, what: string): StatusError {
  return new StatusError(Code.InvalidArgument, `${path} ${what}`);
}
