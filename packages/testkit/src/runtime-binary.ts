import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Where scripts/setup puts what must not be in PATH, and records what it could not get. */
const setupDir = "/usr/local/lib/keelson-setup";

/** The absolute path of a runtime or shim, in PATH or where setup unpacked it; undefined when the machine has none. */
export function runtimeBinary(name: string): string | undefined {
  const dirs = [
    ...(process.env["PATH"] ?? "").split(delimiter),
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    setupDir,
  ];
  return dirs
    .filter((dir) => dir !== "")
    .map((dir) => join(dir, name))
    .find(isExecutable);
}

/**
 * For `test(name, { skip: withoutRuntime("runsc") }, …)`: false when the machine has the runtime, else why it does not,
 * as setup recorded.
 */
export function withoutRuntime(name: string): string | false {
  if (runtimeBinary(name) !== undefined) return false;
  const note = join(setupDir, `${name}.absent`);
  const reason = existsSync(note) ? readFileSync(note, "utf8").trim() : "`npm run setup` installs it";
  return `there is no ${name} on this machine: ${reason}`;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
