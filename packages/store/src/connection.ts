import { existsSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";

/** How long opening a database waits for another process that is just opening it, in ms. */
const busyTimeoutMs = 5000;

/** Opens a database as it is, whatever its schema version. */
export function connect(path: string): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: busyTimeoutMs });
  try {
    db.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON");
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * Opens a database to look at it, and changes nothing: whoever merely reads a database in WAL mode makes a log and an
 * index of it beside the file, unless the file is said not to change. Without a log nobody has it open.
 */
export function openReadOnly(path: string): DatabaseSync {
  const url = pathToFileURL(path);
  if (!existsSync(`${path}-wal`)) url.searchParams.set("immutable", "1");
  return new DatabaseSync(url, { readOnly: true, timeout: busyTimeoutMs });
}
