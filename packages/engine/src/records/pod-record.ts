import { LinuxContainerResources, PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ProcessIdentity } from "@keelson/linux/process-identity.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import type { RunningProcesses } from "@keelson/runtimes/runtime.ts";
import * as v from "valibot";
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

/** Ids are made by the daemon: 64 hex digits, safe in paths. */
export const idSchema = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** What pod/state.ts calls ProcessIdentity. */
export const processIdentitySchema = v.object({
  pid: v.pipe(v.number(), v.integer(), v.minValue(2)),
  startTicks: v.pipe(v.number(), v.integer()),
});

/** What runtime/runtime.ts calls RunningProcesses. */
export const processesSchema = { main: v.exactOptional(processIdentitySchema), monitor: processIdentitySchema };

/** Bytes of a CRI message in base64: what is stored stays readable by later versions of the protocol. */
export function messageSchema<T>(message: { encode(m: T): { finish(): Uint8Array }; decode(bytes: Uint8Array): T }) {
  return {
    read: v.pipe(
      v.string(),
      v.transform((text): T => message.decode(Buffer.from(text, "base64"))),
    ),
    write: (m: T): string => Buffer.from(message.encode(m).finish()).toString("base64"),
  };
}

const config = messageSchema(PodSandboxConfig);
const resources = messageSchema(LinuxContainerResources);

const idMappings = v.pipe(
  v.array(v.object({ containerId: v.number(), hostId: v.number(), length: v.number() })),
  v.minLength(1),
);

/** Checked where a damaged value could lead teardown astray: paths and what decides which steps there are. */
const planSchema = v.pipe(
  v.looseObject({
    id: idSchema,
    metadata: v.object({ name: v.string(), uid: v.string(), namespace: v.string(), attempt: v.number() }),
    nameKey: v.string(),
    hostname: v.string(),
    userNamespace: v.exactOptional(v.object({ uids: idMappings, gids: idMappings })),
    network: v.picklist(["own", "host"]),
    ipc: v.picklist(["own", "host"]),
    uts: v.picklist(["own", "host"]),
    pid: v.picklist(["pod", "container", "host"]),
    portMappings: v.array(v.looseObject({})),
    seLinux: v.optional(v.object({ user: v.string(), role: v.string(), type: v.string(), level: v.string() })),
    // Plans from before there was a choice have none.
    sandbox: v.optional(v.picklist(["none", "container"]), "none"),
    cgroup: v.looseObject({ path: v.pipe(v.string(), v.regex(/^\/(?!(.*\/)?\.\.?(\/|$))/)), own: v.boolean() }),
  }),
  v.transform((plan): PodPlan => plan as unknown as PodPlan),
);

const stateSchema = v.variant("is", [
  v.object({ is: v.literal("creating") }),
  v.object({ is: v.literal("ready"), ips: v.array(v.string()) }),
  v.object({ is: v.literal("stopping") }),
  v.object({ is: v.literal("notReady") }),
]);

const schema = v.object({
  id: idSchema,
  name: v.string(),
  config: config.read,
  plan: planSchema,
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
  const record = v.parse(schema, value);
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
