import { readdirSync } from "node:fs";
import { isErrno } from "@keelson/linux/errno.ts";
import type { Deadlines, Handlers, Logging, Machine, Networks, Records, StrayRows } from "../capabilities.ts";
import { forgetContainer } from "../container/unreadable.ts";
import { endUnknownSandbox } from "../pod/sandbox-container.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { bundleDir, containerDir, containersDir, podDir } from "../records/paths.ts";
import { attempt } from "./attempt.ts";

type Removing = Records & StrayRows & Handlers & Machine & Networks & Deadlines & Logging;

/*
 * What no record knows: of a record that was lost, or from before a restore of the database. It is removed, but not
 * what a record that cannot be read may stand for.
 */

export async function removeUnknownContainers(d: Removing): Promise<void> {
  const unknown = [...idsIn(bundleDir(d.paths, "")), ...idsIn(containersDir(d.paths))].filter(
    (id) => d.containers.get(id) === undefined,
  );
  if (unknown.length > 0 && d.strayRows.containers > 0) return hold(d, "container", unknown);
  for (const id of new Set(unknown)) {
    d.log.warn({ id, dir: containerDir(d.paths, id) }, "removing what is left of a container that has no record");
    await attempt(d, "container", id, async () => {
      // Its handler is not known.
      await forgetContainer(d, { id, handler: "" }, cleanup(d));
      await d.containerHost.destroyUnknown(id);
    });
  }
}

/** Detaches pods that are not there from their networks. Before removeUnknownPods: plugins clean up more while there are namespaces. */
export async function collectNetworkGarbage(d: Removing): Promise<void> {
  const kept = d.pods.all().filter(({ state }) => state.is === "ready" || state.is === "unreadable");
  const ids = new Set([...kept.map(({ id }) => id), ...podsOfUnreadable(d)]);
  if (isAnyPodUnknown(d))
    return d.log.warn(
      {},
      "networks of pods without a record are left as they are: a record that cannot be read may be of one",
    );
  await d.network.collectGarbage(ids, cleanup(d));
}

export async function removeUnknownPods(d: Removing): Promise<void> {
  const needed = podsOfUnreadable(d);
  const unknown = idsIn(podDir(d.paths, "")).filter((id) => d.pods.get(id) === undefined && !needed.has(id));
  if (unknown.length > 0 && isAnyPodUnknown(d)) return hold(d, "pod sandbox", unknown);
  for (const id of unknown) {
    d.log.warn({ id, dir: podDir(d.paths, id) }, "removing what is left of a pod that has no record");
    await attempt(d, "pod sandbox", id, async () => {
      await endUnknownSandbox(d, id, cleanup(d));
      await d.podHost.destroyUnknown(id);
    });
  }
}

/** A container of a pod that may run though nobody can read its record; undefined when there is none. */
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

/** The pods of containers whose records cannot be read, as far as these say so. */
function podsOfUnreadable(d: Records): Set<string> {
  return new Set(d.containers.all().flatMap(({ podId, state }) => (state.is === "unreadable" ? podId : [])));
}

/** Whether there is a pod, or a container's pod, of which not even the id can be told. */
function isAnyPodUnknown(d: Records & StrayRows): boolean {
  return d.strayRows.pods > 0 || d.strayRows.containers > 0 || podsOfUnreadable(d).has("");
}

function hold(d: Logging, kind: string, ids: readonly string[]): void {
  d.log.error(
    { kind, ids },
    `what is left of a ${kind} that has no record is not removed: a record that cannot be read may be of it; see docs/upgrading.md`,
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
