import type { Handlers } from "../capabilities.ts";
import { runtimeContainerOf } from "../container/runtime-container.ts";
import type { ContainerRecord } from "../records/container-record.ts";
import type { AskRuntime } from "./guest-usages.ts";

/** How the container's runtime is asked for its numbers; undefined where its cgroup has them, and where its handler is no longer configured. */
export function askRuntimeOf(d: Handlers, record: ContainerRecord): AskRuntime | undefined {
  const runtime = d.runtimes.all().find(({ name }) => name === record.handler)?.runtime;
  return runtime?.usage === undefined ? undefined : (signal) => runtime.usage!(runtimeContainerOf(d, record), signal);
}
