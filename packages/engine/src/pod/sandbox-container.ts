import { existsSync } from "node:fs";
import { withBaseSpec } from "@keelson/plan/base-spec.ts";
import { planSandboxCgroup } from "@keelson/plan/cgroup-path.ts";
import { sandboxSpec } from "@keelson/plan/sandbox-spec.ts";
import type { RunningProcesses, RuntimeContainer } from "@keelson/runtimes/runtime.ts";
import type { Deadlines, Handlers, Machine, Records } from "../capabilities.ts";
import { podDir } from "../records/paths.ts";
import { etcFiles, ownNamespaces, podFiles, sandboxBundle } from "../records/pod-files.ts";
import type { PodRecord } from "../records/pod-record.ts";

/** What a runtime needs to know about the container that is a pod's sandbox. */
export function sandboxContainerOf(
  d: Pick<Handlers, "paths">,
  { id, plan }: Pick<PodRecord, "id" | "plan">,
): RuntimeContainer {
  return {
    id,
    sandboxId: id,
    bundleDir: sandboxBundle(podDir(d.paths, id), id),
    cgroupPath: planSandboxCgroup(plan).path,
    logPath: "",
    tty: false,
    stdin: false,
    stdinOnce: false,
  };
}

/**
 * Creates and starts the container that is a pod's sandbox, in the pod's namespaces and with its network, which exist
 * by then. It is recorded before it is started; endSandbox takes down what a failure leaves.
 */
export async function startSandbox(
  d: Pick<Records, "pods"> & Handlers & Machine & Deadlines,
  pod: PodRecord,
  signal: AbortSignal,
): Promise<void> {
  const { runtime, settings } = d.runtimes.handlerOf(pod.handler);
  const container = sandboxContainerOf(d, pod);
  const dir = podDir(d.paths, pod.id);
  const files = podFiles(dir);
  const rootfsPath = await d.podHost.makeSandboxRootfs(pod.plan);
  const spec = sandboxSpec({
    pod: pod.plan,
    host: d.host,
    rootfsPath,
    namespacePaths: ownNamespaces(pod.plan, files),
    podFiles: { ...etcFiles(dir), shm: files.shm },
    resources: pod.config.linux?.resources,
    annotationGlobs: settings.annotations,
  });
  const withTimeout = AbortSignal.any([signal, AbortSignal.timeout(d.createTimeoutMs)]);
  const sandbox = await runtime.create(
    container,
    settings.baseSpec === undefined ? spec : withBaseSpec(spec, settings.baseSpec),
    withTimeout,
  );
  d.pods.update(pod.id, (p) => ({ ...p, sandbox }));
  await runtime.start(container, sandbox, withTimeout);
}

/** Takes down whatever exists of a pod's sandbox, and with it all containers inside. May be repeated. */
export async function endSandbox(
  d: Handlers & Pick<Machine, "containerHost">,
  pod: PodRecord,
  signal: AbortSignal,
): Promise<void> {
  const { runtime } = d.runtimes.handlerOf(pod.handler);
  const container = sandboxContainerOf(d, pod);
  try {
    await runtime.kill?.(container, signal);
  } finally {
    await d.containerHost.kill(container.cgroupPath, signal);
  }
  await runtime.delete(container, signal);
}

/** Takes down the sandbox container, if there is one, of a pod of which only the id is known. May be repeated. */
export async function endUnknownSandbox(d: Handlers, id: string, signal: AbortSignal): Promise<void> {
  const bundleDir = sandboxBundle(podDir(d.paths, id), id);
  if (existsSync(bundleDir))
    for (const { runtime } of d.runtimes.all()) await runtime.delete({ id, bundleDir }, signal);
}

/** The process of a pod's sandbox container, whose PID namespace the pod's containers share. */
export function sandboxPid({ sandbox }: PodRecord): number | undefined {
  return sandbox === undefined ? undefined : (sandbox.main ?? sandbox.monitor).pid;
}

/** Whether a pod's sandbox has ended. */
export async function hasSandboxEnded(
  d: Handlers,
  pod: PodRecord,
  sandbox: RunningProcesses,
  signal: AbortSignal,
): Promise<boolean> {
  return await d.runtimes.handlerOf(pod.handler).runtime.hasEnded(sandboxContainerOf(d, pod), sandbox, signal);
}
