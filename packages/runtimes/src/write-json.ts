import { writeFileSync } from "node:fs";
import { namingFile } from "@keelson/base/exhaustion.ts";

/** Writes a file that only root may read: specs may contain secrets. */
export function writeJson(path: string, value: object): void {
  namingFile(path, () => writeFileSync(path, JSON.stringify(value), { mode: 0o600 }));
}
