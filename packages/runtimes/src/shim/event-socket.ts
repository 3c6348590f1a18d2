import { rmSync } from "node:fs";
import { createServer } from "node:net";
import type { Log } from "@keelson/base/log.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import { ShimEvents } from "@keelson/shim/events.ts";
import { writeOutOfMemory } from "./bundle-files.ts";

export interface EventSocketOptions {
  /** Where to listen. */
  readonly path: string;
  /** The handler's name, for the log. */
  readonly handler: string;
  readonly log: Log;
  /** undefined for a container that this handler does not run. */
  readonly bundleDirOf: (containerId: string) => string | undefined;
}

/**
 * Takes the events of a handler's shims, and records in a container's bundle when memory ran out in it. Any shim can say
 * so about any container; everything else is asked of the container's own shim.
 */
export function listenForEvents({ path, handler, log, bundleDirOf }: EventSocketOptions): void {
  const events = new ShimEvents((event) => {
    const bundleDir = event.type === "outOfMemory" ? bundleDirOf(event.containerId) : undefined;
    if (bundleDir === undefined) return;
    try {
      writeOutOfMemory(bundleDir);
    } catch (error) {
      if (isErrno(error, "ENOENT")) return;
      log.warn({ containerId: event.containerId, err: error }, "cannot record that a container ran out of memory");
    }
  });
  rmSync(path, { force: true });
  const listener = createServer((socket) => events.accept(socket.unref())).unref();
  listener.on("error", (error) => log.error({ handler, err: error }, "cannot receive the events of shims"));
  listener.listen(path);
}
