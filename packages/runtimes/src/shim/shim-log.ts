import { constants, openSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import type { Log } from "@keelson/base/log.ts";
import { makeFifo } from "@keelson/linux/pipe.ts";

/** A shim opens this FIFO of its first container's bundle for its own words, and ends when nobody reads it. */
const fileName = "log";

/** Of what it says at once this much is logged, in characters; of the rest, that there is more. */
const maxLoggedLength = 2000;

/** How often it is listened to, in ms: between, the FIFO holds what it says, and then the shim waits. */
const pauseMs = 200;

export function makeShimLog(bundleDir: string): void {
  makeFifo(join(bundleDir, fileName), 0o600);
}

/** Copies what a shim says of itself to the daemon's log. Open for writing too, so that it has no end of its own. */
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
