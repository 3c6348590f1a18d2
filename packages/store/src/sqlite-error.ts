/** A database whose structure SQLite finds wrong, or whose version makes no sense. */
export class DamagedDatabaseError extends Error {
  override name = "DamagedDatabaseError";
}

/** Result codes (https://www.sqlite.org/rescode.html) that say nothing about the file's content: PERM BUSY LOCKED NOMEM IOERR FULL CANTOPEN AUTH. */
const passing = new Set([3, 5, 6, 7, 10, 13, 14, 23]);
/** SQLITE_FULL */
const full = 13;
/** SQLITE_IOERR_SHORT_READ: the file ends too early. */
const shortRead = 522;

/** Whether an error means that a database's content is damaged, and not that it cannot be reached. */
export function isCorruption(error: unknown): boolean {
  if (error instanceof DamagedDatabaseError) return true;
  const code = sqliteCode(error);
  return code !== undefined && (code === shortRead || !passing.has(code & 0xff));
}

/** Whether an error means that there is no room on the file system. */
export function isFull(error: unknown): boolean {
  return sqliteCode(error) === full;
}

/** The extended result code of an error that SQLite reported; undefined for any other error. */
export function sqliteCode(error: unknown): number | undefined {
  return error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode : undefined;
}
