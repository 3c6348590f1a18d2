import { getSystemErrorMessage, getSystemErrorName } from "node:util";

/** What every kernel call of this package throws. Node's own file system errors have the same `code`. */
export interface SystemError extends Error {
  /** "EBUSY" */
  readonly code: string;
  /** Positive, as in errno(3). */
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string;
  /** Which step failed, for calls that have several. */
  readonly stage?: string;
}

/**
 * Whether it is a system error with one of these codes, `isErrno(e, "ENOENT", "ESRCH")`, or with any when none is
 * given.
 */
export function isErrno(error: unknown, ...codes: string[]): error is SystemError {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return false;
  return codes.length === 0 ? "errno" in error : codes.includes(error.code);
}

/** A SystemError for a failure that another program has reported by its number. */
export function systemError(what: string, errno: number, syscall: string, stage?: string): SystemError {
  const code = getSystemErrorName(-errno);
  const error = new Error(`${what}: ${getSystemErrorMessage(-errno)} (${code})`);
  return Object.assign(error, { code, errno, syscall, ...(stage === undefined ? {} : { stage }) });
}
