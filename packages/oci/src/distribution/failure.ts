import { Code, StatusError } from "@keelson/base/status.ts";
import type { HttpResponse } from "./transport.ts";

/** How much of an error's body is read, and how much of it is shown. */
const readLimitBytes = 16 * 1024;
const shownLimit = 300;
/** How long a small body may take altogether: a host that sends it byte by byte is never idle. */
const longestReadMs = 120_000;

/**
 * The error for a registry's refusal, with its codes and messages (distribution-spec "Error Codes"). As these are
 * foreign text, they are shortened, and control characters are removed.
 */
export async function refusalOf(what: string, response: HttpResponse): Promise<StatusError> {
  const said = errorsIn(await readSome(response));
  return new StatusError(
    codeOfStatus(response.status),
    `${what}: answered ${response.status}${meaning(response.status)}${said === "" ? "" : `: ${said}`}`,
  );
}

/** Reads a body of at most `limitBytes`. Throws InvalidArgument when it is larger, Unavailable after two minutes. */
export async function readBody(what: string, response: HttpResponse, limitBytes: number): Promise<Uint8Array> {
  const startedAtMs = performance.now();
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of response.body) {
    length += part.length;
    if (isLate(startedAtMs))
      throw new StatusError(Code.Unavailable, `${what}: received only ${length} bytes in ${longestReadMs / 1000} s`);
    if (length > limitBytes)
      throw new StatusError(Code.InvalidArgument, `${what}: the answer has more than ${limitBytes} bytes`);
    parts.push(part);
  }
  return parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, length);
}

/** Reads a body to its end so that the connection can be reused; gives up on a long one. */
export async function discard(response: HttpResponse): Promise<void> {
  await readSome(response);
}

async function readSome(response: HttpResponse): Promise<string> {
  const startedAtMs = performance.now();
  const parts: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const part of response.body) {
      parts.push(part);
      length += part.length;
      if (length > readLimitBytes || isLate(startedAtMs)) break;
    }
  } catch {
    // The status is enough.
  }
  return Buffer.concat(parts, length).toString("utf8");
}

function isLate(startedAtMs: number): boolean {
  return performance.now() - startedAtMs > longestReadMs;
}

function codeOfStatus(status: number): Code {
  if (status === 401) return Code.Unauthenticated;
  if (status === 403) return Code.PermissionDenied;
  if (status === 404) return Code.NotFound;
  if (status === 429) return Code.ResourceExhausted;
  return status >= 500 ? Code.Unavailable : Code.FailedPrecondition;
}

function meaning(status: number): string {
  if (status === 401 || status === 403)
    return " (access denied: check the pull secret, and that the repository exists)";
  if (status === 404) return " (there is no such image or tag)";
  return status === 429 ? " (too many requests)" : "";
}

/**
 * Only text in the specification's form is shown: a hostile registry may redirect us to a server that can only be
 * reached from this node, whose answers must not be disclosed.
 */
function errorsIn(body: string): string {
  try {
    const parsed = JSON.parse(body) as { errors?: { code?: unknown; message?: unknown }[]; details?: unknown } | null;
    if (Array.isArray(parsed?.errors)) {
      return sanitise(
        parsed.errors.map((e) => [e?.code, e?.message].filter((part) => typeof part === "string").join(" ")).join("; "),
      );
    }
    return typeof parsed?.details === "string" ? sanitise(parsed.details) : "";
  } catch {
    return "";
  }
}

/** Foreign text, made fit for one line of a message. */
export function sanitise(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are to be removed
  const line = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ").trim();
  return line.length > shownLimit ? `${line.slice(0, shownLimit)}…` : line;
}
