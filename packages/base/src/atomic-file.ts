import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { withPath } from "./exhaustion.ts";

/**
 * Replaces a file so that a reader, or the host after a power cut, sees either the old content or the new, never a
 * part: the new content is written to a file beside it, synced and renamed, and the directory is synced.
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array, mode = 0o644): Promise<void> {
  const temporary = `${path}.${process.pid}.${(sequence += 1)}.tmp`;
  try {
    await using file = await open(temporary, "wx", mode);
    await file.writeFile(data);
    await file.sync();
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw withPath(error, temporary);
  }
  await using directory = await open(dirname(path), "r");
  await directory.sync();
}

let sequence = 0;
