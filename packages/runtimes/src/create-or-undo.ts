import { dirname, join } from "node:path";
import { wrapError } from "@keelson/base/status.ts";
import type { RuntimeCommand } from "./runtime-command.ts";
import type { RuntimeContainer } from "./runtime.ts";

/** How long the removal of a half-created container may take, in ms. */
const undoTimeoutMs = 30_000;

export interface Creation<T> {
  readonly create: () => Promise<T>;
  /** Removes whatever exists of the container. */
  readonly undo: (signal: AbortSignal) => Promise<void>;
}

/**
 * Creates a container with an OCI runtime. When that fails, nothing of the half-created container outlives the call,
 * whatever stopped it. The error names the container, the runtime, and a full file system if that may be the cause.
 */
export async function createOrUndo<T>(
  command: RuntimeCommand,
  { id, bundleDir, logPath }: RuntimeContainer,
  { create, undo }: Creation<T>,
): Promise<T> {
  try {
    await using stack = new AsyncDisposableStack();
    // Not the caller's signal: it may be what stopped `create`.
    stack.defer(() => undo(AbortSignal.timeout(undoTimeoutMs)));
    const created = await create();
    stack.move();
    return created;
  } catch (error) {
    // The log and the writable layer may be on other file systems than the bundle.
    const dirs = [bundleDir, join(bundleDir, "rootfs"), ...(logPath === "" ? [] : [dirname(logPath)])];
    throw wrapError(`create container ${id} with ${command.name} (${command.path})`, command.explained(error, dirs));
  }
}
