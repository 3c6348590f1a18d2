import type { DatabaseSync } from "node:sqlite";
import { connect } from "./connection.ts";
import { migrate } from "./schema-version.ts";

/**
 * Opens the daemon's state (`ROOT/state.db`) at this build's schema version: WAL so that a kill -9 costs nothing,
 * synchronous=FULL so that a commit that was answered survives a power cut. One daemon writes, which holds the root's
 * lock; `keelsond check` may read beside it, and costs a write some 3 us. Throws FailedPrecondition for a newer schema.
 */
export function openDatabase(path: string): DatabaseSync {
  const db = connect(path);
  try {
    migrate(db);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}
