import { mkdirSync } from "node:fs";
import { isErrno } from "./errno.ts";

/**
 * mkdir -p, for paths that clients name and in calls. Node's own `recursive` never ends where mkdir(2) answers
 * ENOENT below a directory that is there, as procfs does, and says ENOENT on a read-only file system. Throws what mkdir(2) says.
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
