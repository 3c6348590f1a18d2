import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Log } from "@keelson/base/log.ts";
import { Code, codeOf, messageOf, StatusError } from "@keelson/base/status.ts";
import { signalProcess } from "@keelson/linux/process.ts";
import { Status } from "@keelson/shim/gen/containerd/task/v2/task.ts";
import type { TaskClient } from "@keelson/shim/task-client.ts";
import type { RuntimeContainer } from "../runtime.ts";
import { type Bundle, isMarked, readExit, readShim, unmarkBundle } from "./bundle-files.ts";
import type { ContainerStreams } from "./container-streams.ts";
import { answerTimeoutMs, deleteTimeoutMs, killTimeoutMs, unstartedDeathMs } from "./deadlines.ts";
import { processesIn, processesOf, shimsOf } from "./leftover-processes.ts";
import type { ShimProcess } from "./shim-process.ts";
import { namespace, type ShimProcesses } from "./shim-processes.ts";

/** How long a shim that has no containers any more may take to end, in ms: some have a machine to end first. */
const endMs = 5000;

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
 * Kills what is left of a container and has its shim forget it; a shim that does not cooperate is killed too. The
 * caller holds the pod's lock: a pod's shim comes and goes with its containers.
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

/**
 * For a container whose shim is gone, or has to go: it is killed here, and with it whatever of it runs on this machine.
 * What the shim says of its own cleaning up counts for little: it may fail for ever, or have done half of it.
 */
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
    for (const { pid, startTicks } of [...processesIn(bundle.bundleDir), ...shimsOf(bundle.id, namespace)])
      signalProcess(pid, startTicks, sigkill);
  }
  await killWhatIsLeft(d, bundle.id, signal);
  await d.streams.close(bundle);
  unmarkBundle(bundle.bundleDir, d.handler);
}

/**
 * Kills a container with its lost shim, and with the machine that the shim ran for the pod, so that it need not be waited
 * for: what the shim's binary still has to clean up may take minutes, and `tearDown` waits for it.
 */
export async function killWithoutShim(
  d: TeardownDeps,
  container: RuntimeContainer,
  shim: ShimProcess,
  signal: AbortSignal,
): Promise<void> {
  shim.kill();
  // Without a machine the pod itself goes on, and with it the init of its PID namespace.
  await killWhatIsLeft(d, d.hasHostProcesses ? container.id : container.sandboxId, signal);
  removeLeftovers(d, container, AbortSignal.timeout(deleteTimeoutMs)).catch(() => {});
  shim.leave(container.id);
  // What the container wrote and nobody has read is still in the FIFOs.
  await d.streams.close(container);
}

/** How long the kernel may take to end what was killed, in ms. */
const deathOfLeftoversMs = 5000;

/** Kills the processes in cgroups that bear an id: a pod's machine has one of its own, wherever its shim puts that. */
async function killWhatIsLeft(d: TeardownDeps, id: string, signal: AbortSignal): Promise<void> {
  const until = performance.now() + deathOfLeftoversMs;
  for (let left = processesOf(id); left.length > 0; left = processesOf(id)) {
    for (const { pid, startTicks } of left) signalProcess(pid, startTicks, sigkill);
    if (performance.now() > until)
      throw new StatusError(
        Code.FailedPrecondition,
        `process ${left[0]!.pid} (${left[0]!.name}), which its shim has left behind, still runs ${deathOfLeftoversMs / 1000} s after SIGKILL`,
      );
    d.log.debug({ id, pids: left.map(({ pid }) => pid) }, "killing what a shim has left behind");
    await delay(20, undefined, { signal });
  }
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
    await untilEnded(task, id, signal);
  } catch (error) {
    if (codeOf(error) === Code.Unavailable || codeOf(error) === Code.DeadlineExceeded) throw error;
    // When nobody waits for a Create any more, containerd's shim ends its OCI runtime halfway and forgets what that had
    // begun. Only then: the shim's `delete` unmounts the root file system too, in which we look for the reason when a
    // command cannot be executed.
    if (codeOf(error) === Code.NotFound && d.hasHostProcesses && !isUndone) await removeLeftovers(d, bundle, signal);
  }
  await forget(d, bundle, shim, signal);
}

/** After a SIGKILL. A container that was never started may have no process that could end. */
async function untilEnded(task: TaskClient, id: string, signal: AbortSignal): Promise<void> {
  const { status } = await task.call("State", { id }, { timeoutMs: answerTimeoutMs, signal });
  if (status === Status.STOPPED) return;
  const timeoutMs = status === Status.CREATED ? unstartedDeathMs : answerTimeoutMs;
  try {
    await task.call("Wait", { id }, { timeoutMs, signal });
  } catch (error) {
    if (status !== Status.CREATED || codeOf(error) !== Code.DeadlineExceeded) throw error;
  }
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
  if (!(await shim.endsWithin(endMs))) {
    d.log.warn({ handler: d.handler, pid: shim.identity.pid }, "a shim that has no containers any more is killed");
    shim.kill();
  }
  // Without a machine there is nothing but what is in the containers' cgroups, which are killed with them.
  if (!d.hasHostProcesses) await killWhatIsLeft(d, id, signal);
  d.shims.forget(shim);
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
    if (signal.aborted) throw error;
    // Mostly there is nothing: the shim was killed before it had created the container, or has cleaned up before.
    d.log.warn(
      { containerId: bundle.id, err: error },
      "a shim does not clean up after a container; what is left is killed all the same",
    );
  }
}
