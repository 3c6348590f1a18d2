import type { Runtime, RuntimeContainer } from "@keelson/runtimes/runtime.ts";
import type { Handlers, Machine, Records } from "../capabilities.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { bundleDir } from "../records/paths.ts";

/** What a runtime needs to know about a container. */
export function runtimeContainerOf(
  { paths }: Pick<Handlers, "paths">,
  { id, podId, logPath, cgroupPath, config }: ContainerRecord,
): RuntimeContainer {
  return {
    id,
    sandboxId: podId,
    bundleDir: bundleDir(paths, id),
    cgroupPath,
    logPath,
    tty: config.tty,
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
  };
}

/**
 * A container's runtime, and what that needs to know about it. Throws FailedPrecondition when the handler is no longer
 * configured.
 */
export function runtimeOf(
  d: Handlers,
  record: ContainerRecord,
): { readonly runtime: Runtime; readonly container: RuntimeContainer } {
  return { runtime: d.runtimes.handlerOf(record.handler).runtime, container: runtimeContainerOf(d, record) };
}

/** The same, for running a command in it: most containers map no ids, so that their spec need not be read for it. */
export function execContainerOf(d: Handlers & Pick<Records, "pods">, record: ContainerRecord): RuntimeContainer {
  const pod = d.pods.get(record.podId);
  const isKnown = pod !== undefined && pod.state.is !== "unreadable";
  return {
    ...runtimeContainerOf(d, record),
    ...(isKnown ? { mapsIds: pod.plan.userNamespace !== undefined } : {}),
  };
}

/** Sends SIGKILL to everything in a container: wherever its runtime keeps it, and in its cgroup. */
export async function killContainer(
  d: Handlers & Pick<Machine, "containerHost">,
  record: ContainerRecord,
  signal: AbortSignal,
): Promise<void> {
  try {
    const { runtime, container } = runtimeOf(d, record);
    await runtime.kill?.(container, signal);
  } finally {
    await d.containerHost.kill(record.cgroupPath, signal);
  }
}
