import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { connectLoopback } from "@keelson/linux/connect.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { PortForward } from "@keelson/streaming/streaming-request.ts";
import type { Handlers, Records } from "../capabilities.ts";
import { sandboxContainerOf } from "../pod/sandbox-container.ts";
import { podDir } from "../records/paths.ts";
import { podFiles } from "../records/pod-files.ts";

/** How long a port may take to answer, in ms: the loopback answers at once unless its queue of connections is full. */
const connectTimeoutMs = 10_000;

/**
 * Connects to a port on a pod's loopback. Returns the fd of a stream socket, which the caller closes. Throws
 * FailedPrecondition or Unavailable with a sentence for the client.
 */
export async function connectToPod(
  d: Pick<Records, "pods"> & Handlers,
  { podId }: PortForward,
  port: number,
  signal: AbortSignal,
): Promise<number> {
  const pod = d.pods.require(podId);
  if (pod.state.is !== "ready")
    throw new StatusError(Code.FailedPrecondition, `pod sandbox ${podId} is not ready: nothing runs in it`);
  const netns = pod.plan.network === "own" ? podFiles(podDir(d.paths, podId)).netns : null;
  const { runtime } = d.runtimes.handlerOf(pod.handler);
  const withTimeout = AbortSignal.any([signal, AbortSignal.timeout(connectTimeoutMs)]);
  try {
    if (netns !== null && runtime.connectPort !== undefined)
      return await runtime.connectPort(sandboxContainerOf(d, pod), port, withTimeout);
    return await connectLoopback(netns, port, withTimeout);
  } catch (error) {
    const why = isErrno(error, "ECONNREFUSED")
      ? "nothing listens there, neither on 127.0.0.1 nor on ::1 (ECONNREFUSED)"
      : messageOf(error);
    throw new StatusError(Code.Unavailable, `forward port ${port} of pod ${podId}: ${why}`, error);
  }
}
