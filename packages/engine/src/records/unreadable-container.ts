import { ContainerConfig } from "@keelson/cri/gen/runtime/v1/api.ts";
import { wholeMembers } from "@keelson/store/record-json.ts";
import type { UnreadableRow } from "@keelson/store/record-table.ts";
import * as v from "valibot";
import { type BundleFacts, bundleFacts } from "./bundle-facts.ts";
import { type ContainerRecord, containerRecordSchema } from "./container-record.ts";
import { cgroupPathSchema, idSchema, likelyId, processesSchema, readable } from "./parse-record.ts";
import { containerDir, type Paths } from "./paths.ts";

const { entries } = containerRecordSchema;
const processes = v.object(processesSchema);
const absolutePath = v.pipe(v.string(), v.regex(/^\/(?!(.*\/)?\.\.(\/|$))/));

/**
 * As much of a container's record as can be read from the row and from the container's bundle; the rest is empty.
 * Undefined when the id cannot be read either, so that no client could name it.
 */
export function standInForContainer(
  { id: rowId, text, reason }: UnreadableRow,
  paths: Paths,
  bootId: string,
): ContainerRecord | undefined {
  const members = wholeMembers(text);
  const id = likelyId([members["id"], rowId], (each) => containerDir(paths, each));
  if (id === undefined) return undefined;
  const bundle = bundleFacts(paths, id);
  const name = readable(entries.name, members["name"]) ?? "";
  const layers = readable(entries.layers, members["layers"]);
  const mountedImages = readable(entries.mountedImages, members["mountedImages"]);
  const boot = readable(entries.bootId, members["bootId"]) ?? "";
  return {
    id,
    name,
    podId: readable(entries.podId, members["podId"]) ?? readable(idSchema, bundle.podId) ?? "",
    config: configOf(members["config"], name || id),
    imageId: readable(entries.imageId, members["imageId"]) ?? "",
    repoDigest: readable(entries.repoDigest, members["repoDigest"]),
    layers: layers ?? [],
    mountedImages: mountedImages ?? [],
    handler: readable(entries.handler, members["handler"]) ?? "",
    logPath: readable(absolutePath, members["logPath"]) ?? "",
    cgroupPath: cgroupPathOf(id, members["cgroupPath"], bundle),
    stopSignal: readable(entries.stopSignal, members["stopSignal"]) ?? { name: "SIGTERM", number: 15 },
    user: readable(entries.user, members["user"]) ?? { uid: 0, gid: 0, supplementalGroups: [] },
    resources: readable(entries.resources, members["resources"]),
    createdAtNs: readable(entries.createdAtNs, members["createdAtNs"]) ?? 0n,
    bootId: boot,
    state: {
      is: "unreadable",
      message: reason,
      // After a reboot the recorded pids belong to other processes.
      processes: boot === bootId ? readable(processes, members["state"]) : undefined,
      hasLayers: layers !== undefined && mountedImages !== undefined,
      ended: undefined,
    },
  };
}

/** The config with the name and the image that clients expect. */
function configOf(value: unknown, name: string): ContainerConfig {
  const config = readable(entries.config, value) ?? ContainerConfig.fromPartial({});
  return {
    ...config,
    metadata: config.metadata ?? { name, attempt: 0 },
    image: config.image ?? ContainerConfig.fromPartial({ image: {} }).image,
  };
}

/** Everything in this cgroup is killed when the container is removed, so its name must be this container's. */
function cgroupPathOf(id: string, onRecord: unknown, bundle: BundleFacts): string {
  const paths = [onRecord, bundle.cgroupPath].map((path) => readable(cgroupPathSchema, path));
  return paths.find((path) => path?.split("/").at(-1)?.includes(id)) ?? "";
}
