import { systemError } from "./errno.ts";
import { native } from "./native.ts";
import { closeFd } from "./pipe.ts";
import { Poll, pollWritable } from "./poll.ts";

/**
 * Connects to a port on the loopback address of a network namespace, null for our own: to 127.0.0.1, else to ::1. The
 * namespace is entered on a thread that ends with the call. Throws the SystemError of 127.0.0.1 (ECONNREFUSED when
 * nothing listens) when both fail, and the signal's reason when aborted. The caller has to close the socket's fd.
 */
export async function connectLoopback(netns: string | null, port: number, signal: AbortSignal): Promise<number> {
  return await connectToFirst(netns, ["127.0.0.1", "::1"], port, signal);
}

/**
 * Connects to a port on the first of these IP addresses that takes the connection, in a network namespace, null for our
 * own. Throws the SystemError of the first when none does, EINVAL for what is no address, and the signal's reason when
 * aborted. The caller has to close the socket's fd.
 */
export async function connectToFirst(
  netns: string | null,
  addresses: readonly [string, ...string[]],
  port: number,
  signal: AbortSignal,
): Promise<number> {
  let first: unknown;
  for (const address of addresses) {
    signal.throwIfAborted();
    try {
      return await connectOne(netns, address, port, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      first ??= error;
    }
  }
  throw first;
}

async function connectOne(netns: string | null, address: string, port: number, signal: AbortSignal): Promise<number> {
  const { fd, isConnected } = native.connectAddress(netns, address, port);
  using undo = new DisposableStack();
  undo.adopt(fd, closeFd);
  if (!isConnected) {
    await untilWritable(fd, signal);
    const errno = native.socketError(fd);
    if (errno !== 0) throw systemError(`connect to ${address} port ${port}`, errno, "connect");
  }
  undo.move();
  return fd;
}

function untilWritable(fd: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const poll = new Poll(fd, () => resolve());
  const onAbort = () => reject(signal.reason as Error);
  signal.addEventListener("abort", onAbort, { once: true });
  poll.want(pollWritable);
  return promise.finally(() => {
    signal.removeEventListener("abort", onAbort);
    poll[Symbol.dispose]();
  });
}
