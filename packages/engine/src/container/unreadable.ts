import type { Runtime, RuntimeContainer } from "@keelson/runtimes/runtime.ts";
import type { Handlers, Machine } from "../capabilities.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import type { UnreadableContainer } from "../records/container-state.ts";
import { bundleDir } from "../records/paths.ts";
import { runtimeOf } from "./runtime-container.ts";

/** A container whose record cannot be read; what could not be read of it is empty. */
export type Unreadable = ContainerRecord & { readonly state: UnreadableContainer };

type Ending = Handlers & Pick<Machine, "containerHost">;

/** The runtime that has a container; undefined when its record does not say which, or that one is not configured. */
export function knownRuntimeOf(
  d: Handlers,
  record: ContainerRecord,
): { readonly runtime: Runtime; readonly container: RuntimeContainer } | undefined {
  const isConfigured = d.runtimes.all().some(({ name }) => name === record.handler);
  return isConfigured ? runtimeOf(d, record) : undefined;
}

/** Sends SIGKILL to everything in a container whose record cannot be read, as far as it is known where that runs. */
export async function killUnreadable(d: Ending, record: Unreadable, signal: AbortSignal): Promise<void> {
  const { cgroupPath, state } = record;
  const known = knownRuntimeOf(d, record);
  try {
    if (state.processes !== undefined) await known?.runtime.signal(known.container, state.processes, 9, signal);
    await known?.runtime.kill?.(known.container, signal);
  } finally {
    if (cgroupPath !== "") await d.containerHost.kill(cgroupPath, signal);
  }
  // Any runtime may have it; the one that does kills it before it forgets it.
  if (known === undefined || cgroupPath === "") await forgetContainer(d, record, signal);
}

/** Takes down whatever can be found of a container whose record cannot be read. May be repeated. Keeps the record. */
export async function teardownUnreadable(d: Ending, record: Unreadable, signal: AbortSignal): Promise<void> {
  await killUnreadable(d, record, signal);
  await forgetContainer(d, record, signal);
  if (record.cgroupPath === "") await d.containerHost.destroyUnknown(record.id);
  else await d.containerHost.destroy(record.id, record.cgroupPath, signal);
}

/** Makes a container's runtime, or all of them if it is not known, forget it and kill what is left of it. */
export async function forgetContainer(
  d: Handlers,
  { id, handler }: Pick<ContainerRecord, "id" | "handler">,
  signal: AbortSignal,
): Promise<void> {
  const all = d.runtimes.all();
  const known = all.filter(({ name }) => name === handler);
  for (const { runtime } of known.length > 0 ? known : all)
    await runtime.delete({ id, bundleDir: bundleDir(d.paths, id) }, signal);
}
