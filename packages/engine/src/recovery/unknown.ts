import { readdirSync } from "node:fs";
import { isErrno } from "@keelson/linux/errno.ts";
import { exitsDir } from "@keelson/runtimes/runtime-paths.ts";
import type { Deadlines, Handlers, Logging, Machine, Networks, Records, StrayRows } from "../capabilities.ts";
import { forgetContainer } from "../container/unreadable.ts";
import { endUnknownSandbox } from "../pod/sandbox-container.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { bundleDir, containerDir, containersDir, podDir } from "../records/paths.ts";
import { attempt } from "./attempt.ts";

type Removing = Records & StrayRows & Handlers & Machine & Networks & Deadlines & Logging;

/*
 * What has no record, because that was lost or the database was restored from a copy, is removed; what may belong to a
 * record that cannot be read is not.
 */

export async function removeUnknownContainers(d: Removing): Promise<void> {
  const present = new Set([...idsIn(bundleDir(d.paths, "")), ...idsIn(containersDir(d.paths))]);
  // A pod's sandbox has an exit code too.
  for (const id of idsIn(exitsDir(d.paths))) if (d.pods.get(id) === undefined) present.add(id);
  const unknown = [...present].filter((id) => d.containers.get(id) === undefined);
  if (unknown.length > 0 && d.strayRows.containers > 0) return hold(d, "container", unknown);
  for (const id of unknown) {
    d.log.warn({ id, dir: containerDir(d.paths, id) }, "removing what is left of a container without a record");
    await attempt(d, "container", id, async () => {
      // No record says which handler it has.
      await forgetContainer(d, { id, handler: "" }, cleanup(d));
      await d.containerHost.destroyUnknown(id);
    });
  }
}

/**
 * Detaches pods that do not exist any more from their networks. To be called before removeUnknownPods: plugins clean up
 * more while the namespaces exist.
 */
export async function collectNetworkGarbage(d: Removing): Promise<void> {
  const kept = d.pods.all().filter(({ state }) => state.is === "ready" || state.is === "unreadable");
  const ids = new Set([...kept.map(({ id }) => id), ...podsOfUnreadable(d)]);
  if (isAnyPodUnknown(d))
    return d.log.warn(
      {},
      "pods without a record are not detached from their networks: they may belong to a record that cannot be read",
    );
  await d.network.collectGarbage(ids, cleanup(d));
}

export async function removeUnknownPods(d: Removing): Promise<void> {
  const needed = podsOfUnreadable(d);
  const unknown = idsIn(podDir(d.paths, "")).filter((id) => d.pods.get(id) === undefined && !needed.has(id));
  if (unknown.length > 0 && isAnyPodUnknown(d)) return hold(d, "pod sandbox", unknown);
  for (const id of unknown) {
    d.log.warn({ id, dir: podDir(d.paths, id) }, "removing what is left of a pod without a record");
    await attempt(d, "pod sandbox", id, async () => {
      await endUnknownSandbox(d, id, cleanup(d));
      await d.podHost.destroyUnknown(id);
    });
  }
}

/** A container of a pod that may be running while its record cannot be read; undefined when there is none. */
export function unreadableIn(d: Records & Pick<Machine, "bootId">, podId: string): ContainerRecord | undefined {
  return d.containers
    .all()
    .find(
      ({ podId: of, state, bootId }) =>
        of === podId &&
        state.is === "unreadable" &&
        state.ended === undefined &&
        (bootId === d.bootId || bootId === ""),
    );
}

/** The pods of containers whose records cannot be read; "" for those whose pod is not known. */
function podsOfUnreadable(d: Records): Set<string> {
  return new Set(d.containers.all().flatMap(({ podId, state }) => (state.is === "unreadable" ? podId : [])));
}

/** Whether there is a pod, or the pod of a container, whose id is not known. */
function isAnyPodUnknown(d: Records & StrayRows): boolean {
  return d.strayRows.pods > 0 || d.strayRows.containers > 0 || podsOfUnreadable(d).has("");
}

function hold(d: Logging, kind: string, ids: readonly string[]): void {
  d.log.error(
    { kind, ids },
    `what is left of a ${kind} without a record is not removed: it may belong to a record that cannot be read; see docs/upgrading.md`,
  );
}

/** The entries of a directory that have the form of our ids; none when it is missing. */
function idsIn(dir: string): string[] {
  try {
    return readdirSync(dir).filter((name) => /^[0-9a-f]{64}$/.test(name));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return [];
    throw error;
  }
}

function cleanup(d: Deadlines): AbortSignal {
  return AbortSignal.timeout(d.cleanupTimeoutMs);
}
