import { allDone } from "@keelson/base/all-done.ts";
import type { Deadlines, Exits, Handlers, Machine, Records, Turns } from "../capabilities.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { killContainer, runtimeOf } from "./runtime-container.ts";
import { teardownUnreadable } from "./unreadable.ts";

type Releasing = Handlers & Pick<Machine, "containerHost">;

/** What removing a container needs. */
export type ContainerRemoving = Releasing & Exits & Pick<Records, "containers">;

/**
 * Takes down whatever exists of a container: processes, the runtime's state, mounts, directories, cgroup. May be
 * repeated; serves rollback, RemoveContainer and recovery. Keeps the record.
 */
export async function teardownContainer(d: Releasing, record: ContainerRecord, signal: AbortSignal): Promise<void> {
  const { state } = record;
  if (state.is === "unreadable") return await teardownUnreadable(d, { ...record, state }, signal);
  await killContainer(d, record, signal);
  await releaseEnded(d, record, signal);
  await d.containerHost.destroy(record.id, record.cgroupPath, signal);
}

/**
 * Makes the runtime forget a container that has ended and unmounts its root file system, so that RemoveContainer need
 * not wait for that. Does nothing if the container was removed in the meantime.
 */
export async function releaseContainer(
  d: Pick<Records, "containers"> & Pick<Turns, "podLock"> & Pick<Deadlines, "cleanupTimeoutMs"> & Releasing,
  id: string,
): Promise<void> {
  const signal = AbortSignal.timeout(d.cleanupTimeoutMs);
  const podId = d.containers.get(id)?.podId;
  if (podId === undefined) return;
  using _ = await d.podLock.acquire(podId, signal);
  const record = d.containers.get(id);
  if (record?.state.is === "exited") await releaseEnded(d, record, signal);
}

/** Both at once: one runs a process, the other waits in the kernel, and each takes milliseconds. */
async function releaseEnded(d: Releasing, record: ContainerRecord, signal: AbortSignal): Promise<void> {
  const { runtime, container } = runtimeOf(d, record);
  await allDone([runtime.delete(container, signal), d.containerHost.unmountRootfs(record.id)]);
}

/** Takes a container down and deletes its record. */
export async function removeContainerRecord(
  d: ContainerRemoving,
  record: ContainerRecord,
  signal: AbortSignal,
): Promise<void> {
  d.exits.forget(record.id);
  await teardownContainer(d, record, signal);
  d.containers.delete(record.id);
}
