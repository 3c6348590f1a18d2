/**
 * Where a room reports what no caller is told. Fields come first, as pino has it; the daemon hands
 * in a pino logger, tests hand in `silentLog`.
 */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** A log that keeps nothing. */
export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
