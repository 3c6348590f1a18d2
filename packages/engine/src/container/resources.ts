import type { LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import { limitFiles, resourcesBefore } from "@keelson/plan/resource-update.ts";
import { planOomScoreAdj, planResources } from "@keelson/plan/resources.ts";
import type { Handlers, Machine, Records } from "../capabilities.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import { runtimeContainerOf } from "./runtime-container.ts";

type Resizing = Pick<Records, "containers"> & Handlers & Pick<Machine, "containerHost" | "host">;

/**
 * Replaces a container's limits. Writes all of them each time: runtimes remember what they wrote last (runc:
 * state.json) and would write that again with the next update. May be repeated.
 */
export async function applyResources(
  d: Resizing,
  record: ContainerRecord,
  resources: LinuxContainerResources,
  signal: AbortSignal,
): Promise<void> {
  const plan = planResources("linux", resources, d.host);
  await d.runtimes.handlerOf(record.handler).runtime.update(runtimeContainerOf(d, record), plan, signal);
  d.containerHost.writeLimits(record.cgroupPath, limitFiles(resources, d.host));
  applyOomScoreAdj(d, record, resources);
}

/** Reverts an update that was not completed, by this daemon or by an earlier one. */
export async function putBackResources(d: Resizing, record: ContainerRecord, signal: AbortSignal): Promise<void> {
  const { id, resizing } = record;
  if (resizing === undefined) return;
  await applyResources(d, record, resourcesBefore(record.resources, resizing), signal);
  d.containers.update(id, (c) => ({ ...c, resizing: undefined }));
}

/** Only when it changes: processes may have set another score for themselves. */
function applyOomScoreAdj(d: Resizing, record: ContainerRecord, resources: LinuxContainerResources): void {
  const scores = [record.resources, record.resizing, resources].map((r) => planOomScoreAdj("linux", r, d.host).value);
  const wanted = scores.at(-1)!;
  if (scores.some((score) => score !== wanted))
    d.containerHost.setOomScoreAdj(record.cgroupPath, new Set(scores), wanted);
}
