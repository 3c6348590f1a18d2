/** The gRPC status codes (https://grpc.github.io/grpc/core/md_doc_statuscodes.html), which ttrpc shares. */
export const Code = {
  Ok: 0,
  Cancelled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
export type Code = (typeof Code)[keyof typeof Code];

const names = new Map<number, string>(Object.entries(Code).map(([name, code]) => [code, name]));

/** The name of a code as gRPC's documents write it, such as `NotFound`. */
export function codeName(code: number): string {
  return names.get(code) ?? `Code(${code})`;
}

/**
 * The one error whose code means something to the caller of an RPC. The message says what was being done and what the
 * caller can do; the code is chosen where the meaning is known.
 */
export class StatusError extends Error {
  readonly code: Code;

  constructor(code: Code, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "StatusError";
    this.code = code;
  }
}

/** The code of an error: its own when it is a StatusError, Cancelled or DeadlineExceeded for an aborted signal. */
export function codeOf(error: unknown): Code {
  if (error instanceof StatusError) return error.code;
  if (error instanceof SuppressedError) return codeOf(error.suppressed);
  if (error instanceof Error && error.name === "TimeoutError") return Code.DeadlineExceeded;
  if (error instanceof Error && error.name === "AbortError") return Code.Cancelled;
  return Code.Internal;
}

/**
 * Puts what was being done before an error's message and keeps its code, so that the outermost message reads from the
 * call down to the cause.
 */
export function wrapError(doing: string, error: unknown): StatusError {
  return new StatusError(codeOf(error), `${doing}: ${messageOf(error)}`, error);
}

/**
 * The message of an error. When a body and its cleanup both fail, JavaScript throws a SuppressedError whose `.error` is
 * the cleanup's and whose `.suppressed` is the first one, which the caller has to read first.
 */
export function messageOf(error: unknown): string {
  if (error instanceof SuppressedError) {
    return `${messageOf(error.suppressed)} (and while cleaning up: ${messageOf(error.error)})`;
  }
  return error instanceof Error ? error.message : String(error);
}

/** Any thrown value as a status; to be called at the RPC edge only. */
export function toStatus(error: unknown): { code: Code; message: string } {
  return { code: codeOf(error), message: messageOf(error) };
}
