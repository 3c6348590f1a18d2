import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import type { ResolvedPath } from "@keelson/linux/resolve-paths.ts";
import type { CdiEdits } from "@keelson/plan/cdi.ts";
import { resolveDeviceNode } from "./device-nodes.ts";
import type { CdiContainerEdits } from "./spec.ts";

interface FindDeps {
  readonly cdi: { editsFor(names: readonly string[]): Promise<CdiContainerEdits[]> };
  /** Looks in a separate process: a mount's source may be on a file system that does not answer. */
  readonly containerHost: {
    resolveHostPaths(paths: readonly string[], makeMissing: boolean, signal: AbortSignal): Promise<ResolvedPath[]>;
  };
}

/**
 * What a container gets from the devices that it asks for (`vendor.com/class=name`), merged, with its nodes resolved on
 * this machine. Throws FailedPrecondition for a device that no file defines, and for a node or a mount's source that
 * does not exist: SPEC.md requires both to be errors when the container is created.
 */
export async function findCdiEdits(d: FindDeps, names: readonly string[], signal: AbortSignal): Promise<CdiEdits> {
  const all = await d.cdi.editsFor(names);
  const mounts = all.flatMap((e) => e.mounts ?? []);
  await checkSources(
    d,
    mounts.map((m) => m.hostPath),
    signal,
  );
  const intelRdt = all.findLast((e) => e.intelRdt !== undefined)?.intelRdt;
  return {
    env: all.flatMap((e) => e.env ?? []),
    deviceNodes: all.flatMap((e) => e.deviceNodes ?? []).map(resolveDeviceNode),
    netDevices: all.flatMap((e) => e.netDevices ?? []),
    mounts,
    hooks: all.flatMap((e) => e.hooks ?? []),
    additionalGids: all.flatMap((e) => e.additionalGids ?? []),
    ...(intelRdt === undefined ? {} : { intelRdt }),
  };
}

async function checkSources(d: FindDeps, hostPaths: readonly string[], signal: AbortSignal): Promise<void> {
  // A tmpfs and the like have a name instead.
  const paths = [...new Set(hostPaths.filter((path) => path.startsWith("/")))];
  if (paths.length === 0) return;
  const found = await d.containerHost.resolveHostPaths(paths, false, signal);
  for (const [i, path] of paths.entries()) {
    const answer = found[i]!;
    if ("error" in answer)
      throw new StatusError(
        Code.FailedPrecondition,
        `CDI mount source ${path}: ${messageOf(answer.error)}`,
        answer.error,
      );
  }
}
