import { Code, StatusError } from "@keelson/base/status.ts";

/** An InvalidArgument whose message begins with the CRI's name of the field, such as `linux.sysctls`. */
export function invalidField(field: string, problem: string): StatusError {
  return new StatusError(Code.InvalidArgument, `${field} ${problem}`);
}

/** A FailedPrecondition for a value that this machine or this runtime handler cannot honour. */
export function unsupportedHere(field: string, problem: string): StatusError {
  return new StatusError(Code.FailedPrecondition, `${field} ${problem}`);
}

// eslint-disable-next-line no-control-regex
const controlCharacter = /[\u0000-\u001f\u007f]/;

/**
 * Checks for one line of text: the value goes into files, logs or arguments, where a newline or NUL would be misread.
 * Throws InvalidArgument when it has control characters or more than `maxLength` characters.
 */
export function checkSingleLine(field: string, value: string, maxLength: number): void {
  if (value.length > maxLength)
    throw invalidField(field, `has ${value.length} characters; at most ${maxLength} are allowed`);
  if (controlCharacter.test(value))
    throw invalidField(field, `${quote(value)} must not have newlines or other control characters`);
}

/** Checks a part of a name or file name: one line, not empty, no slash. Throws InvalidArgument. */
export function checkNamePart(field: string, value: string, maxLength: number): void {
  if (value === "") throw invalidField(field, "must not be empty");
  checkSingleLine(field, value, maxLength);
  if (value.includes("/")) throw invalidField(field, `${quote(value)} must not have a slash`);
}

/** The kernel reads texts only up to their first NUL. Throws InvalidArgument. */
export function checkNoNul(field: string, value: string): void {
  if (value.includes("\0")) throw invalidField(field, `${quote(value)} must not have a NUL character`);
}

/** A whole number from the wire, converted to a number. Throws InvalidArgument when it is out of bounds. */
export function checkInteger(field: string, value: bigint | number, min: number, max: number): number {
  if (value < min || value > max) throw invalidField(field, `is ${value}; it must be from ${min} to ${max}`);
  return Number(value);
}

/** Kubernetes allows a quarter of this for a pod's annotations; with more, records and lists would get slow. */
const metadataLimitBytes = 1024 * 1024;

/**
 * Labels and annotations are kept in the record and returned by each list, so they are bounded: 1 MiB of UTF-8 for both
 * together, names and values. Throws InvalidArgument naming the larger of the two.
 */
export function checkMetadataSize(
  labels: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>>,
): void {
  const labelBytes = mapBytes(labels);
  const annotationBytes = mapBytes(annotations);
  if (labelBytes + annotationBytes <= metadataLimitBytes) return;
  const field = labelBytes > annotationBytes ? "labels" : "annotations";
  throw invalidField(
    field,
    `has ${Math.max(labelBytes, annotationBytes)} bytes; labels and annotations together may have ${metadataLimitBytes}`,
  );
}

function mapBytes(map: Readonly<Record<string, string>>): number {
  return Object.entries(map).reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);
}

/** A value as an error message shows it: escaped, and shortened when it is long. */
export function quote(value: string): string {
  return JSON.stringify(value.length > 120 ? `${value.slice(0, 120)}…` : value);
}
