import { Socket } from "node:net";
import type { ReadStream } from "node:tty";
import { terminalStream } from "@keelson/linux/pty.ts";

/** Takes what was read. The bytes stay valid until `done` is called; only a few calls come before that. */
export type Take = (bytes: Buffer, done: () => void) => void;

/** As much as Linux reads from a pipe at once. */
const bufferBytes = 64 * 1024;

/** How many buffers may be in use before reading waits for them. */
const maxTaken = 2;

/** Unused buffers of all readers of this thread. */
const free: Buffer[] = [];
const maxFree = 32;

function release(buffer: Buffer): void {
  if (free.length < maxFree) free.push(buffer);
}

/**
 * Reads a pipe or a stream socket, whose fd it takes over, into a few buffers that are reused: with a new buffer for
 * each read, garbage collection would be a third of all the work.
 *
 * @param isDuplex whether it is a socket, which is also written to, and whose halves end separately.
 */
export function readFd(fd: number, isDuplex: boolean, take: Take): Socket {
  /** The buffer for the next bytes. */
  let next: Buffer;
  let taken = 0;
  const socket = new Socket({
    fd,
    readable: true,
    writable: isDuplex,
    allowHalfOpen: isDuplex,
    onread: {
      buffer: () => (next = free.pop() ?? Buffer.allocUnsafeSlow(bufferBytes)),
      callback(length) {
        const buffer = next;
        taken += 1;
        if (taken === maxTaken) socket.pause();
        take(buffer.subarray(0, length), () => {
          release(buffer);
          if (taken === maxTaken) socket.resume();
          taken -= 1;
        });
        return true;
      },
    },
  });
  socket.once("close", () => release(next));
  // A socket made from an fd does not start to read by itself.
  return socket.resume();
}

/** The same for the master of a terminal, which allocates its own buffers. */
export function readTerminal(fd: number, take: Take): ReadStream {
  const stream = terminalStream(fd);
  let taken = 0;
  stream.on("data", (bytes: Buffer) => {
    taken += 1;
    if (taken === maxTaken) stream.pause();
    take(bytes, () => {
      if (taken === maxTaken) stream.resume();
      taken -= 1;
    });
  });
  return stream;
}
