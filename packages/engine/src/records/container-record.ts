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
  /** Lowest first: kept as long as the container's record is. */
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
  /** The image's layers, lowest first: kept as long as this record is. */
  readonly layers: readonly string[];
  /** The images that are mounted in it, by the names that the config has for them. */
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
  /** The limits as they are now. */
  readonly resources: LinuxContainerResources | undefined;
  /** Those that an update under way is to give it; what is found of them after a crash is taken back. */
  readonly resizing?: LinuxContainerResources | undefined;
  readonly createdAtNs: bigint;
  readonly bootId: string;
  readonly state: ContainerState;
}

const config = messageSchema(ContainerConfig);
const resources = messageSchema(LinuxContainerResources);

/** Every state that is ever written. */
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

/** What a newer build has written beside is kept, and written back with the rest. */
export const containerRecordSchema = v.looseObject({
  id: idSchema,
  name: v.string(),
  podId: idSchema,
  config: config.read,
  imageId: v.string(),
  layers: v.array(v.string()),
  // Records from before there were any have none.
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
});

/** Chain ids of all layers that a container stands on: those of its image, and of the images mounted in it. */
export function layersOf(record: ContainerRecord): string[] {
  return [...record.layers, ...record.mountedImages.flatMap((image) => image.layers)];
}

/**
 * Why it cannot be told which layers containers stand on, so that none may be removed; undefined when it can.
 *
 * @param strayRows how many more there are of which not even the id can be read.
 */
export function whyLayersAreHeld(containers: readonly ContainerRecord[], strayRows: number): string | undefined {
  const unknown = containers.find(({ state }) => state.is === "unreadable" && !state.hasLayers);
  if (unknown !== undefined) return `the layers of container ${unknown.id}, whose record cannot be read, are not known`;
  return strayRows > 0 ? "there is the record of a container of which not even the id can be read" : undefined;
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
