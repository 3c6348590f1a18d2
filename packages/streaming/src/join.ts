import type { Duplex } from "node:stream";
import { readFd } from "./byte-source.ts";

/**
 * Passes bytes and ends both ways between a client and a stream socket, whose fd it takes over, until both have ended;
 * what breaks one breaks the other. Each end of either is passed on, so one may go on reading after its last byte.
 */
export async function join(client: Duplex, fd: number): Promise<void> {
  const socket = readFd(fd, true, (bytes, done) => void client.write(bytes, done));
  socket.once("end", () => client.end());
  client.pipe(socket);
  await Promise.all([closed(client, socket), closed(socket, client)]);
}

/** Resolves when `one` is closed; unless that was after a good end, of which the other is told, it breaks the other. */
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
