import { Code, StatusError } from "@keelson/base/status.ts";

/** How a command in a container ended. */
export interface ExitStatus {
  readonly exitCode: number;
  /** What the server says besides the code, such as why the command could not be run. */
  readonly message: string | undefined;
}

/**
 * Reads what a streaming server writes to the error stream when the command has ended: a `Status` of the Kubernetes
 * API (meta/v1) since v4, before that plain text, and nothing after success. Throws Internal with the server's text
 * when the command was not run or the streams broke.
 */
export function parseExitStatus(text: string): ExitStatus {
  const status = parseStatus(text);
  if (status === undefined) return parsePlainText(text.trim());
  if (status.status === "Success") return { exitCode: 0, message: undefined };
  const message = typeof status.message === "string" ? status.message : "";
  const cause = causesOf(status).find((one) => one.reason === "ExitCode");
  const exitCode = Number(cause?.message);
  if (cause === undefined || !Number.isInteger(exitCode) || exitCode < 0 || exitCode > 255) throw failure(message);
  const more = /^command terminated with exit code \d+: ([^]+)$/.exec(message)?.[1];
  return { exitCode, message: more };
}

interface Status {
  readonly status?: unknown;
  readonly message?: unknown;
  readonly details?: { readonly causes?: unknown };
}

function parseStatus(text: string): Status | undefined {
  try {
    const value = JSON.parse(text) as Status | null;
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function causesOf({ details }: Status): { reason?: unknown; message?: unknown }[] {
  const causes = typeof details === "object" && details !== null ? details.causes : undefined;
  return Array.isArray(causes) ? causes.filter((one) => typeof one === "object" && one !== null) : [];
}

function parsePlainText(text: string): ExitStatus {
  if (text === "") return { exitCode: 0, message: undefined };
  const code = /\bexit (?:code|status):? (\d{1,3})\b/.exec(text)?.[1];
  if (code === undefined) throw failure(text);
  return { exitCode: Number(code), message: undefined };
}

function failure(message: string): StatusError {
  return new StatusError(Code.Internal, message === "" ? "the runtime reports a failure without a reason" : message);
}
