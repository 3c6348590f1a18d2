import { ContainerConfig, LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import * as v from "valibot";
import type { ContainerState } from "./container-state.ts";
import { cgroupPathSchema, idSchema, messageSchema, parseAs, processesSchema } from "./parse-record.ts";

/** An image that a container has as a volume. */
export interface MountedImage {
  /** CRI: Mount.image.image. */
  readonly name: string;
  /** Image.id. */
  readonly imageId: string;
  /** Chain ids, lowest first; the layers are kept as long as the container's record. */
  readonly layers: readonly string[];
}

/** A container as it is kept on disk. */
export interface ContainerRecord {
  readonly id: string;
  /** Its own name and attempt with the pod's: unique among containers. */
  readonly name: string;
  readonly podId: string;
  /** What the kubelet sent. */
  readonly config: ContainerConfig;
  /** Image.id. */
  readonly imageId: string;
  /** The repository digest that the image was pulled by; undefined when it has none, and in records of 0.1.0. */
  readonly repoDigest?: string | undefined;
  /** Chain ids of the image's layers, lowest first; they are kept as long as this record. */
  readonly layers: readonly string[];
  /** The images that are mounted in it, with the names that the config has for them. */
  readonly mountedImages: readonly MountedImage[];
  /** The name of the handler that runs it. */
  readonly handler: string;
  /** Absolute path of the log; "" when there is none. */
  readonly logPath: string;
  /** Where its processes are, relative to the hierarchies' roots. */
  readonly cgroupPath: string;
  /** What StopContainer sends. */
  readonly stopSignal: { readonly name: string; readonly number: number };
  readonly user: { readonly uid: number; readonly gid: number; readonly supplementalGroups: readonly number[] };
  /** The current limits. */
  readonly resources: LinuxContainerResources | undefined;
  /** The limits that an update in progress sets; after a crash they are reverted. */
  readonly resizing?: LinuxContainerResources | undefined;
  readonly createdAtNs: bigint;
  readonly bootId: string;
  readonly state: ContainerState;
}

const config = messageSchema(ContainerConfig);
const resources = messageSchema(LinuxContainerResources);

/** The states that are written: all but `unreadable`. */
const stateSchema = v.variant("is", [
  v.looseObject({ is: v.literal("creating") }),
  v.looseObject({ is: v.literal("created"), ...processesSchema }),
  v.looseObject({ is: v.literal("running"), ...processesSchema, startedAtNs: v.bigint() }),
  v.looseObject({
    is: v.literal("exited"),
    exitCode: v.number(),
    reason: v.picklist(["Completed", "Error", "OOMKilled", "StartError", "MonitorLost", "NodeRebooted"]),
    message: v.string(),
    startedAtNs: v.bigint(),
    finishedAtNs: v.bigint(),
  }),
  v.looseObject({ is: v.literal("unknown"), message: v.string() }),
]);

const id = v.pipe(v.number(), v.integer(), v.minValue(0));

/** Fields that only a newer build knows are kept, and written back with the rest. */
export const containerRecordSchema = v.looseObject({
  id: idSchema,
  name: v.string(),
  podId: idSchema,
  config: config.read,
  imageId: v.string(),
  repoDigest: v.optional(v.string()),
  layers: v.array(v.string()),
  // Absent in records of builds that had no such mounts.
  mountedImages: v.exactOptional(
    v.array(v.looseObject({ name: v.string(), imageId: v.string(), layers: v.array(v.string()) })),
    [],
  ),
  handler: v.string(),
  logPath: v.string(),
  cgroupPath: cgroupPathSchema,
  stopSignal: v.looseObject({
    name: v.string(),
    number: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(64)),
  }),
  user: v.looseObject({ uid: id, gid: id, supplementalGroups: v.array(id) }),
  resources: v.optional(resources.read),
  resizing: v.optional(resources.read),
  createdAtNs: v.bigint(),
  bootId: v.string(),
  state: stateSchema,
} satisfies Record<keyof ContainerRecord, unknown>);

/** Chain ids of all layers that a container uses: those of its image, and of the images mounted in it. */
export function layersOf(record: ContainerRecord): string[] {
  return [...record.layers, ...record.mountedImages.flatMap((image) => image.layers)];
}

/**
 * Why it is not known which layers containers use, so that none may be removed; undefined when it is.
 *
 * @param strayRows how many records there are besides whose ids cannot be read either.
 */
export function whyLayersAreHeld(containers: readonly ContainerRecord[], strayRows: number): string | undefined {
  const unknown = containers.find(({ state }) => state.is === "unreadable" && !state.hasLayers);
  if (unknown !== undefined) return `the layers of container ${unknown.id}, whose record cannot be read, are not known`;
  return strayRows > 0 ? "there is the record of a container whose id cannot be read either" : undefined;
}

/** Reads what writeContainerRecord made. Throws what is wrong with it. */
export function readContainerRecord(value: unknown): ContainerRecord {
  const record = parseAs(containerRecordSchema, value);
  return { ...record, resources: record.resources };
}

export function writeContainerRecord(record: ContainerRecord): object {
  return {
    ...record,
    config: config.write(record.config),
    resources: record.resources === undefined ? undefined : resources.write(record.resources),
    resizing: record.resizing === undefined ? undefined : resources.write(record.resizing),
  };
}
