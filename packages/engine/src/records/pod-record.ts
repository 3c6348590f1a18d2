import { LinuxContainerResources, PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import type { RunningProcesses } from "@keelson/runtimes/runtime.ts";
import * as v from "valibot";
import { idSchema, messageSchema, parseAs, processesSchema, processIdentitySchema } from "./parse-record.ts";
import { podPlanSchema } from "./pod-plan-schema.ts";
import type { PodState } from "./pod-state.ts";

/** A pod sandbox as it is kept on disk. */
export interface PodRecord {
  readonly id: string;
  /** namespace, name, uid and attempt: unique among pods. */
  readonly name: string;
  /** What the kubelet sent. */
  readonly config: PodSandboxConfig;
  /** What was made of it; teardown goes by this. */
  readonly plan: PodPlan;
  /** As asked for; "" is the default. */
  readonly runtimeHandler: string;
  /** The handler that "" stood for when the pod was made. */
  readonly handler: string;
  readonly createdAtNs: bigint;
  /** The boot that it was made in; nothing of it runs in another. */
  readonly bootId: string;
  /** The process that holds the PID namespace of a pod that shares one, as soon as it runs. */
  readonly init: ProcessIdentity | undefined;
  /** What runs of the container that is the pod's sandbox, as soon as it is made; for handlers that have pods in one. */
  readonly sandbox?: RunningProcesses | undefined;
  /** CRI: UpdatePodSandboxResources; until then those of the config. The kubelet gives them to the pod's cgroup. */
  readonly overhead?: LinuxContainerResources | undefined;
  readonly resources?: LinuxContainerResources | undefined;
  readonly state: PodState;
}

const config = messageSchema(PodSandboxConfig);
const resources = messageSchema(LinuxContainerResources);

/** Every state that is ever written. */
const stateSchema = v.variant("is", [
  v.looseObject({ is: v.literal("creating") }),
  v.looseObject({ is: v.literal("ready"), ips: v.array(v.string()) }),
  v.looseObject({ is: v.literal("stopping") }),
  v.looseObject({ is: v.literal("notReady") }),
]);

/** What a newer build has written beside is kept, and written back with the rest. */
export const podRecordSchema = v.looseObject({
  id: idSchema,
  name: v.string(),
  config: config.read,
  plan: podPlanSchema,
  runtimeHandler: v.string(),
  handler: v.string(),
  createdAtNs: v.bigint(),
  bootId: v.string(),
  init: v.optional(processIdentitySchema),
  sandbox: v.optional(v.object(processesSchema)),
  overhead: v.optional(resources.read),
  resources: v.optional(resources.read),
  state: stateSchema,
});

/** Reads what writePodRecord made. Throws what is wrong with it. */
export function readPodRecord(value: unknown): PodRecord {
  const record = parseAs(podRecordSchema, value);
  return { ...record, init: record.init };
}

export function writePodRecord(record: PodRecord): object {
  const written = (r: LinuxContainerResources | undefined) => (r === undefined ? undefined : resources.write(r));
  return {
    ...record,
    config: config.write(record.config),
    overhead: written(record.overhead),
    resources: written(record.resources),
  };
}
