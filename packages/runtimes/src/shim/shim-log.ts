import { constants, openSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import type { Log } from "@keelson/base/log.ts";
import { makeFifo } from "@keelson/linux/pipe.ts";

/** A shim opens this FIFO in its first container's bundle for its own messages, and ends when nobody reads it. */
const fileName = "log";

/** How much is logged of what it writes at once, in characters. */
const maxLoggedLength = 2000;

/** The pause between two readings, in ms: meanwhile the FIFO fills, and then the shim waits. */
const pauseMs = 200;

export function makeShimLog(bundleDir: string): void {
  makeFifo(join(bundleDir, fileName), 0o600);
}

/** Copies a shim's own messages to the daemon's log. The FIFO is opened for writing too, so that it never ends. */
export function followShimLog(bundleDir: string, log: Log, fields: object): Disposable {
  const fd = openSync(join(bundleDir, fileName), constants.O_RDWR | constants.O_NONBLOCK);
  const socket = new Socket({ fd, readable: true, writable: false });
  socket.on("error", () => socket.destroy());
  socket.on("data", (bytes: Buffer) => {
    const text = bytes.toString("utf8", 0, maxLoggedLength).trim();
    log.debug(fields, `the shim says: ${text}${bytes.length > maxLoggedLength ? " …" : ""}`);
    socket.pause();
    setTimeout(() => socket.resume(), pauseMs).unref();
  });
  socket.unref();
  return { [Symbol.dispose]: () => socket.destroy() };
}
