import { mkdirSync } from "node:fs";
import { isErrno } from "./errno.ts";

/**
 * mkdir -p, for paths that clients choose. Node's own `recursive` never returns where mkdir(2) answers ENOENT below an
 * existing directory, as it does on procfs, and reports ENOENT on a read-only file system. Throws the error of
 * mkdir(2).
 */
export function makeDirectories(path: string, mode: number): void {
  let at = "";
  for (const part of path.split("/")) {
    at += `${part}/`;
    if (part === "") continue;
    try {
      mkdirSync(at, { mode });
    } catch (error) {
      if (!isErrno(error, "EEXIST")) throw error;
    }
  }
}
