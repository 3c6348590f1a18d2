import { statSync, type Stats } from "node:fs";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { deviceNumbers } from "@keelson/linux/device-numbers.ts";
import type { CdiEdits } from "../plan/cdi.ts";
import type { CdiContainerEdits, CdiDeviceNode } from "./spec.ts";

/**
 * The edits of all devices of a container as one, with what the nodes and mounts are on this machine. Throws
 * FailedPrecondition for a node that is not there or is none, and for a mount's source that is not there: SPEC.md wants
 * both to be errors when the container is created.
 */
export function resolveCdiEdits(all: readonly CdiContainerEdits[]): CdiEdits {
  for (const mount of all.flatMap((e) => e.mounts ?? [])) {
    if (mount.hostPath.startsWith("/")) statOf("mount source", mount.hostPath);
  }
  const intelRdt = all.findLast((e) => e.intelRdt !== undefined)?.intelRdt;
  return {
    env: all.flatMap((e) => e.env ?? []),
    deviceNodes: all.flatMap((e) => e.deviceNodes ?? []).map(resolveNode),
    netDevices: all.flatMap((e) => e.netDevices ?? []),
    mounts: all.flatMap((e) => e.mounts ?? []),
    hooks: all.flatMap((e) => e.hooks ?? []),
    additionalGids: all.flatMap((e) => e.additionalGids ?? []),
    ...(intelRdt === undefined ? {} : { intelRdt }),
  };
}

function resolveNode(node: CdiDeviceNode): CdiEdits["deviceNodes"][number] {
  const { path, hostPath = path, permissions, uid, gid } = node;
  const rest = { path, permissions: permissions || "rwm", ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) };
  const mode = (fileMode: number | undefined) => (fileMode === undefined ? {} : { fileMode });
  if (node.type === "p") return { ...rest, type: "p", major: 0, minor: 0, ...mode(node.fileMode) };
  if (node.type !== undefined && node.major !== undefined) return { ...rest, type: node.type, major: node.major, minor: node.minor ?? 0, ...mode(node.fileMode) };
  const stat = statOf("device node", hostPath);
  const found = deviceNumbers(stat);
  if (found === undefined) throw new StatusError(Code.FailedPrecondition, `CDI device node ${hostPath} is not a device`);
  const isSameType = node.type === undefined || node.type === found.type || (node.type === "u" && found.type === "c");
  if (!isSameType) throw new StatusError(Code.FailedPrecondition, `CDI device node ${hostPath} is of type ${found.type}, not ${node.type}`);
  return { ...rest, ...found, fileMode: node.fileMode ?? stat.mode & 0o777 };
}

function statOf(what: string, path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw new StatusError(Code.FailedPrecondition, `CDI ${what} ${path}: ${messageOf(error)}`, error);
  }
}
