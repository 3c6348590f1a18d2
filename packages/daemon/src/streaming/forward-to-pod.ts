import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { connectLoopback } from "@keelson/linux/connect.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { Deps } from "../deps.ts";
import { podDir } from "../paths.ts";
import { podFiles } from "../pod/pod-host.ts";

/** How long a port may take to answer, in ms: the loopback answers at once, or its queue of connections is full. */
const connectTimeoutMs = 10_000;

/**
 * Connects a client with a port on the loopback of a pod, until both have ended. Each end of either is passed on, so a
 * client may go on reading after its last byte. Throws FailedPrecondition or Unavailable with a sentence for the client.
 */
export async function forwardTo(d: Deps, podId: string, port: number, client: Duplex, signal: AbortSignal): Promise<void> {
  const pod = d.pods.require(podId);
  if (pod.state.is !== "ready") throw new StatusError(Code.FailedPrecondition, `pod sandbox ${podId} is not ready: nothing runs in it`);
  const netns = pod.plan.network === "own" ? podFiles(podDir(d.paths, podId)).netns : null;
  let fd: number;
  try {
    fd = await connectLoopback(netns, port, AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)]));
  } catch (error) {
    const why = isErrno(error, "ECONNREFUSED") ? "nobody listens there, neither on 127.0.0.1 nor on ::1 (ECONNREFUSED)" : messageOf(error);
    throw new StatusError(Code.Unavailable, `forward port ${port} of pod ${podId}: ${why}`, error);
  }
  await joined(client, new Socket({ fd, allowHalfOpen: true, readable: true, writable: true }));
}

/** Passes bytes and ends both ways; what breaks one breaks the other. */
async function joined(a: Duplex, b: Duplex): Promise<void> {
  const both = [[a, b], [b, a]] as const;
  await Promise.all(
    both.map(([one, other]) => {
      one.on("error", () => {});
      one.pipe(other);
      const isClosed = new Promise<void>((resolve) => {
        one.once("close", () => {
          // After a good end the other has got it by the pipe and goes on with its own half.
          if (!one.readableEnded || one.errored !== null) other.destroy();
          resolve();
        });
      });
      if (one.destroyed) other.destroy();
      return one.destroyed ? Promise.resolve() : isClosed;
    }),
  );
}
