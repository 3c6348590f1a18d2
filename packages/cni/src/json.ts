import { Code, messageOf, StatusError } from "@keelson/base/status.ts";

/** A JSON object as it was read: nothing is known about its keys yet. */
export type JsonObject = { readonly [key: string]: unknown };

/** Deeper than any configuration or result is nested; much deeper nesting would overflow JSON.stringify's stack. */
const maxDepth = 64;

/**
 * Parses a JSON object of at most `limitBytes` bytes. Throws InvalidArgument when it is larger, not JSON, not an object
 * or nested too deeply; the message does not repeat the text.
 */
export function parseJsonObject(text: string, limitBytes: number): JsonObject {
  // A UTF-16 unit is at most three bytes of UTF-8, so the exact size is only needed in between.
  if (text.length > limitBytes || (text.length * 3 > limitBytes && Buffer.byteLength(text) > limitBytes)) {
    throw invalid(`is larger than ${limitBytes} bytes`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(`is not JSON: ${firstLine(messageOf(error))}`);
  }
  if (!isJsonObject(value)) throw invalid("is not a JSON object");
  checkDepth(value);
  return value;
}

/** Whether this is an object, and neither an array nor null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A value's JSON type, for messages. */
export function jsonType(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

/** A string as a message can show it: without control characters, cut to `limit` characters. */
export function printable(text: string, limit = 200): string {
  // Lone surrogates and control characters would break a log line or a gRPC message.
  const clean = text.toWellFormed().replace(/[\p{Cc}\u2028\u2029]+/gu, (c) => (c.trim() === "" ? " " : "?"));
  return clean.length > limit ? `${clean.slice(0, limit).toWellFormed()}…` : clean;
}

function firstLine(text: string): string {
  // V8 quotes the text around the error, which may be anything.
  return printable(text, 120);
}

function checkDepth(root: JsonObject): void {
  let level: unknown[] = [root];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > maxDepth) throw invalid(`is nested more than ${maxDepth} levels deep`);
    level = level
      .flatMap((value) => Object.values(value as object))
      .filter((value) => typeof value === "object" && value !== null);
  }
}

function invalid(problem: string): StatusError {
  return new StatusError(Code.InvalidArgument, problem);
}
