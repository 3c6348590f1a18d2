import { readFileSync } from "node:fs";
import { isErrno } from "@keelson/linux/errno.ts";

/** The pid in a file; undefined when the file does not exist or has none. */
export function readPid(file: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(file, "utf8"), 10);
    return Number.isInteger(pid) && pid > 1 ? pid : undefined;
  } catch (error) {
    if (isErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
