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
  let first: unknown;
  for (const isIpv6 of [false, true]) {
    signal.throwIfAborted();
    try {
      return await connectOne(netns, isIpv6, port, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      first ??= error;
    }
  }
  throw first;
}

async function connectOne(netns: string | null, isIpv6: boolean, port: number, signal: AbortSignal): Promise<number> {
  const { fd, isConnected } = native.connectLoopback(netns, isIpv6, port);
  using undo = new DisposableStack();
  undo.adopt(fd, closeFd);
  if (!isConnected) {
    await untilWritable(fd, signal);
    const errno = native.socketError(fd);
    if (errno !== 0) throw systemError(`connect to ${isIpv6 ? "::1" : "127.0.0.1"} port ${port}`, errno, "connect");
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
