import type { Handlers } from "../capabilities.ts";
import { runtimeContainerOf } from "../container/runtime-container.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import type { AskRuntime } from "./guest-usages.ts";

/**
 * How to ask a container's runtime for its usage; undefined if its cgroup has it, or its handler is no longer
 * configured.
 */
export function askRuntimeOf(d: Handlers, record: ContainerRecord): AskRuntime | undefined {
  const runtime = d.runtimes.all().find(({ name }) => name === record.handler)?.runtime;
  return runtime?.usage === undefined ? undefined : (signal) => runtime.usage!(runtimeContainerOf(d, record), signal);
}
