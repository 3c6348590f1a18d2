import type { Duplex } from "node:stream";
import { readFd } from "./byte-source.ts";

/**
 * Passes bytes both ways between a client and a stream socket, whose fd it takes over, until both have ended. The end
 * of each half is passed on separately, so either side may keep reading after its own last byte. When one side breaks,
 * the other is closed.
 */
export async function join(client: Duplex, fd: number): Promise<void> {
  const socket = readFd(fd, true, (bytes, done) => void client.write(bytes, done));
  socket.once("end", () => client.end());
  client.pipe(socket);
  await Promise.all([closed(client, socket), closed(socket, client)]);
}

/** Resolves when `one` is closed. Unless it had ended well, which `other` has seen, this destroys `other`. */
function closed(one: Duplex, other: Duplex): Promise<void> {
  one.on("error", () => {});
  if (one.destroyed) {
    other.destroy();
    return Promise.resolve();
  }
  return new Promise((resolve) => {
    one.once("close", () => {
      if (!one.readableEnded || one.errored !== null) other.destroy();
      resolve();
    });
  });
}
