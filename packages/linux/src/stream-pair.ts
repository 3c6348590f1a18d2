import { native } from "./native.ts";

/** Two connected stream sockets, non-blocking, whose fds the caller has to close. Throws SystemError. */
export function streamPair(): { a: number; b: number } {
  return native.streamPair();
}

/**
 * Reads what a socket has now into `buffer`. Returns the number of bytes, 0 at its end, -1 when there is nothing yet.
 * Throws SystemError.
 */
export function receiveNow(fd: number, buffer: Uint8Array): number {
  return native.receivePacket(fd, buffer);
}
