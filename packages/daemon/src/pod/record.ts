import { PodSandboxConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import * as v from "valibot";
import type { PodState } from "./state.ts";

/** A pod sandbox as it is kept on disk. */
export interface PodRecord {
  readonly id: string;
  /** namespace, name, uid and attempt: unique among pods. */
  readonly name: string;
  /** What the kubelet sent. */
  readonly config: PodSandboxConfig;
  /** As asked for; "" is the default. */
  readonly runtimeHandler: string;
  /** The handler that "" stood for when the pod was made. */
  readonly handler: string;
  readonly createdAtNs: bigint;
  /** The boot that it was made in; nothing of it runs in another. */
  readonly bootId: string;
  readonly state: PodState;
}

/** Ids are made by the daemon: 64 hex digits, safe in paths. */
export const idSchema = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/** What pod/state.ts calls ProcessIdentity. */
export const processIdentitySchema = v.object({ pid: v.pipe(v.number(), v.integer(), v.minValue(2)), startTicks: v.pipe(v.number(), v.integer()) });

/** Bytes of a CRI message in base64: what is stored stays readable by later versions of the protocol. */
export function messageSchema<T>(message: { encode(m: T): { finish(): Uint8Array }; decode(bytes: Uint8Array): T }) {
  return {
    read: v.pipe(v.string(), v.transform((text): T => message.decode(Buffer.from(text, "base64")))),
    write: (m: T): string => Buffer.from(message.encode(m).finish()).toString("base64"),
  };
}

const config = messageSchema(PodSandboxConfig);

const stateSchema = v.variant("is", [
  v.object({ is: v.literal("creating") }),
  v.object({ is: v.literal("ready"), ips: v.array(v.string()), init: v.optional(processIdentitySchema) }),
  v.object({ is: v.literal("notReady") }),
]);

const schema = v.object({
  id: idSchema,
  name: v.string(),
  config: config.read,
  runtimeHandler: v.string(),
  handler: v.string(),
  createdAtNs: v.bigint(),
  bootId: v.string(),
  state: stateSchema,
});

/** Reads what writePodRecord made. Throws what is wrong with it. */
export function readPodRecord(value: unknown): PodRecord {
  const record = v.parse(schema, value);
  const { state } = record;
  return { ...record, state: state.is === "ready" ? { ...state, init: state.init } : state };
}

export function writePodRecord(record: PodRecord): object {
  return { ...record, config: config.write(record.config) };
}
