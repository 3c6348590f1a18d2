import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Log } from "@keelson/base/log.ts";
import { Code, codeOf, messageOf } from "@keelson/base/status.ts";
import { signalProcess } from "@keelson/linux/process.ts";
import { type Bundle, isMarked, readExit, readShim, unmarkBundle } from "./bundle-files.ts";
import type { ContainerStreams } from "./container-streams.ts";
import { answerTimeoutMs, killTimeoutMs } from "./deadlines.ts";
import { processesIn } from "./processes-in.ts";
import type { ShimProcess } from "./shim-process.ts";
import type { ShimProcesses } from "./shim-processes.ts";

/** How long a shim that has no containers any more may take to end, in ms. */
const endMs = 2000;

const sigkill = 9;

export interface TeardownDeps {
  /** The handler's name. */
  readonly handler: string;
  /** Whether the containers' processes are this machine's. */
  readonly hasHostProcesses: boolean;
  readonly shims: ShimProcesses;
  readonly streams: ContainerStreams;
  readonly log: Log;
}

export interface TeardownOptions {
  readonly signal: AbortSignal;
  /** The shim itself reported that it could not create the container, so it has undone what it had begun. */
  readonly isUndone?: boolean;
}

/**
 * Kills what is left of a container and has its shim forget it; a shim that does not cooperate is killed too. The caller
 * holds the pod's lock: a pod's shim comes and goes with its containers.
 */
export async function tearDown(d: TeardownDeps, bundle: Bundle, options: TeardownOptions): Promise<void> {
  const { signal } = options;
  const shim = d.shims.of(bundle);
  if (shim === undefined || shim.lost !== undefined) return await tearDownWithoutShim(d, bundle, shim, signal);
  try {
    await killAndForget(d, bundle, shim, options);
  } catch (error) {
    if (signal.aborted) throw error;
    shim.hangs(messageOf(error));
    return await tearDownWithoutShim(d, bundle, shim, signal);
  }
  await d.streams.close(bundle);
  unmarkBundle(bundle.bundleDir, d.handler);
}

/** For a container whose shim is gone, or has to go: it is killed here. */
export async function tearDownWithoutShim(
  d: TeardownDeps,
  bundle: Bundle,
  shim: ShimProcess | undefined,
  signal: AbortSignal,
): Promise<void> {
  if (shim !== undefined) {
    shim.kill();
    await removeLeftovers(d, bundle, signal);
    shim.leave(bundle.id);
  } else {
    // A shim that was never recorded, because the daemon was killed or its start failed, has created no container yet.
    for (const { pid, startTicks } of processesIn(bundle.bundleDir)) signalProcess(pid, startTicks, sigkill);
  }
  await d.streams.close(bundle);
  unmarkBundle(bundle.bundleDir, d.handler);
}

async function killAndForget(
  d: TeardownDeps,
  bundle: Bundle,
  shim: ShimProcess,
  { signal, isUndone = false }: TeardownOptions,
): Promise<void> {
  const { id, bundleDir } = bundle;
  const task = await shim.task(signal);
  if (readExit(bundleDir) !== undefined) return await forget(d, bundle, shim, signal);
  try {
    await task.call("Kill", { id, signal: sigkill, all: true }, { timeoutMs: killTimeoutMs, signal });
    await task.call("Wait", { id }, { timeoutMs: answerTimeoutMs, signal });
  } catch (error) {
    if (codeOf(error) === Code.Unavailable || codeOf(error) === Code.DeadlineExceeded) throw error;
    // When nobody waits for a Create any more, containerd's shim ends its OCI runtime halfway and forgets what that had
    // begun. Only then: the shim's `delete` unmounts the root file system too, in which we look for the reason when a
    // command cannot be executed.
    if (codeOf(error) === Code.NotFound && d.hasHostProcesses && !isUndone) await removeLeftovers(d, bundle, signal);
  }
  await forget(d, bundle, shim, signal);
}

/** Delete and Shutdown; a shim that has other containers ignores the latter. */
async function forget(d: TeardownDeps, bundle: Bundle, shim: ShimProcess, signal: AbortSignal): Promise<void> {
  const { id } = bundle;
  const limits = { timeoutMs: answerTimeoutMs, signal };
  const task = await shim.task(signal);
  try {
    await task.call("Delete", { id }, limits);
  } catch (error) {
    if (codeOf(error) !== Code.NotFound) throw error;
  }
  shim.leave(id);
  // The shim may end before it has answered.
  await task.call("Shutdown", { id }, limits).catch(() => {});
  if (shim.isFollowed || hasOtherContainers(d.handler, bundle, shim)) return;
  if (await shim.endsWithin(endMs)) return d.shims.forget(shim);
  d.log.warn({ handler: d.handler, pid: shim.identity.pid }, "a shim that has no containers any more does not end");
}

/** Whether other bundles belong to this shim: a container that has ended still does, until it is removed. */
function hasOtherContainers(handler: string, { id, bundleDir }: Bundle, shim: ShimProcess): boolean {
  const dir = dirname(bundleDir);
  return readdirSync(dir).some((other) => {
    const otherDir = join(dir, other);
    return (
      other !== id && isMarked(otherDir, handler) && readShim(otherDir)?.bootstrap.address === shim.bootstrap.address
    );
  });
}

async function removeLeftovers(d: TeardownDeps, bundle: Bundle, signal: AbortSignal): Promise<void> {
  try {
    await d.shims.removeLeftovers(bundle, signal);
  } catch (error) {
    // containerd's shim knows nothing of a container when it was killed before it had created that.
    if (signal.aborted || !d.hasHostProcesses) throw error;
    d.log.warn(
      { containerId: bundle.id, err: error },
      "a shim does not clean up after a container; its cgroup is killed all the same",
    );
  }
}
