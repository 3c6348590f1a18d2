import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { Code, StatusError } from "@keelson/base/status.ts";
import { flock } from "@keelson/linux/file.ts";

/**
 * Makes this process the one daemon of a root: two would undo each other's pods. The kernel releases the lock when the
 * process ends, however it ends. Throws FailedPrecondition with the other daemon's pid.
 */
export function lockInstance(path: string): Disposable {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const fd = openSync(path, "a+", 0o600);
  if (!flock(fd)) {
    closeSync(fd);
    const pid = readFileSync(path, "utf8").trim() || "unknown";
    throw new StatusError(
      Code.FailedPrecondition,
      `another keelsond (pid ${pid}) runs with the root ${dirname(path)}; stop it, or give this one a root of its own`,
    );
  }
  ftruncateSync(fd);
  writeSync(fd, `${process.pid}\n`);
  return { [Symbol.dispose]: () => closeSync(fd) };
}
