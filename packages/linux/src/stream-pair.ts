import { native } from "./native.ts";

/** Two stream sockets that are connected with each other, non-blocking; the fds are the caller's. Throws SystemError. */
export function streamPair(): { a: number; b: number } {
  return native.streamPair();
}

/** What can be read from a socket now, into `buffer`: the number of bytes, 0 at its end, -1 when there is nothing yet. Throws SystemError. */
export function receiveNow(fd: number, buffer: Uint8Array): number {
  return native.receivePacket(fd, buffer);
}
