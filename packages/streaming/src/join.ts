import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { closeFd, duplicateFd } from "@keelson/linux/pipe.ts";
import { readFd } from "./byte-source.ts";
import { ended } from "./remote-streams.ts";

/** How long the pod may take none of what a client that has gone had sent it, in ms. */
const lastInputMs = 60_000;

/**
 * Passes bytes both ways between a client and a stream socket, whose fd it takes over, until both have ended. The end
 * of each half is passed on separately, so either side may keep reading after its own last byte. When the socket takes
 * no more, the client's input is discarded, and what the socket still has to say is delivered. When the client is gone,
 * the socket is closed once it has taken what the client had sent to its end.
 */
export async function join(client: Duplex, fd: number): Promise<void> {
  // A net.Socket of which a write fails discards what it has not read: each half has its own.
  const writeFd = duplicate(fd);
  const incoming = readFd(fd, false, (bytes, done) => void client.write(bytes, done));
  const outgoing = new Socket({ fd: writeFd, readable: false, writable: true });
  client.on("error", () => {});
  // What had come before was read: the kernel reports a reset after that.
  incoming.on("error", () => void outgoing.destroy());
  outgoing.on("error", () => {});
  client.pipe(outgoing);
  incoming.once("close", () => client.end());
  outgoing.once("close", () => client.resume());
  const onGone = (): void => {
    incoming.destroy();
    if (client.readableEnded && client.errored === null) outgoing.setTimeout(lastInputMs, () => outgoing.destroy());
    else outgoing.destroy();
  };
  client.once("close", onGone);
  if (client.destroyed) onGone();
  await Promise.all([closed(incoming), closed(outgoing)]);
  await ended(client);
  // One that still sends learns that nobody listens.
  client.destroy();
}

function duplicate(fd: number): number {
  try {
    return duplicateFd(fd);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}
