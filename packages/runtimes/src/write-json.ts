import { writeFileSync } from "node:fs";
import { namingFile } from "@keelson/base/exhaustion.ts";

/** Writes a file that only we may read; what may be secret is in it. */
export function writeJson(path: string, value: object): void {
  namingFile(path, () => writeFileSync(path, JSON.stringify(value), { mode: 0o600 }));
}
