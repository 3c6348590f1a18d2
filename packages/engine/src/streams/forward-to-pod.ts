import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { connectLoopback, connectToFirst } from "@keelson/linux/connect.ts";
import { isErrno } from "@keelson/linux/errno.ts";
import type { PortForward } from "@keelson/streaming/streaming-request.ts";
import type { Handlers, Records } from "../capabilities.ts";
import { sandboxContainerOf } from "../pod/sandbox-container.ts";
import { podDir } from "../records/paths.ts";
import { podFiles } from "../records/pod-files.ts";
import type { PodRecord } from "../records/pod-record.ts";

/** How long a port may take to answer, in ms: the loopback answers at once unless its queue of connections is full. */
const connectTimeoutMs = 10_000;

/**
 * Connects to a port on a pod's loopback. The loopback of a pod in a guest is out of reach, unless its runtime knows a
 * way; its servers that listen on the pod's address are not. Returns the fd of a stream socket, which the caller closes.
 * Throws FailedPrecondition or Unavailable with a sentence for the client.
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
    return await connectLoopback(netns, port, withTimeout).catch(async (error: unknown) => {
      if (!isGuest(pod) || !isErrno(error, "ECONNREFUSED")) throw error;
      return await connectToGuest(pod.state.is === "ready" ? pod.state.ips : [], port, withTimeout);
    });
  } catch (error) {
    const nowhere = "nothing listens there, neither on 127.0.0.1 nor on ::1 (ECONNREFUSED)";
    const why = isErrno(error, "ECONNREFUSED") && !isGuest(pod) ? nowhere : messageOf(error);
    throw new StatusError(Code.Unavailable, `forward port ${port} of pod ${podId}: ${why}`, error);
  }
}

/** Whether no process of the pod is one of this machine's. */
function isGuest({ sandbox }: PodRecord): boolean {
  return sandbox !== undefined && sandbox.main === undefined;
}

async function connectToGuest(ips: readonly string[], port: number, signal: AbortSignal): Promise<number> {
  const [first, ...others] = ips;
  const unreachable = "the loopback of a pod in a guest is out of reach";
  if (first === undefined) throw new StatusError(Code.Unavailable, `${unreachable}, and the pod has no address`);
  try {
    return await connectToFirst(null, [first, ...others], port, signal);
  } catch (error) {
    if (!isErrno(error, "ECONNREFUSED")) throw error;
    const all = ips.join(" and ");
    throw new StatusError(
      Code.Unavailable,
      `nothing listens on the pod's address ${all}, and ${unreachable}; have the server listen on all addresses`,
      error,
    );
  }
}
