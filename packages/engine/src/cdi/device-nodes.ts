import { statSync, type Stats } from "node:fs";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { deviceNumbers } from "@keelson/linux/device-numbers.ts";
import type { CdiEdits } from "@keelson/plan/cdi.ts";
import type { CdiDeviceNode } from "./spec.ts";

/** Resolves a node on this machine. Throws FailedPrecondition when it does not exist or is not a device. */
export function resolveDeviceNode(node: CdiDeviceNode): CdiEdits["deviceNodes"][number] {
  const { path, hostPath = path, permissions, uid, gid } = node;
  const rest = {
    path,
    permissions: permissions || "rwm",
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  };
  const mode = (fileMode: number | undefined) => (fileMode === undefined ? {} : { fileMode });
  if (node.type === "p") return { ...rest, type: "p", major: 0, minor: 0, ...mode(node.fileMode) };
  if (node.type !== undefined && node.major !== undefined)
    return { ...rest, type: node.type, major: node.major, minor: node.minor ?? 0, ...mode(node.fileMode) };
  const stat = statOf(hostPath);
  const found = deviceNumbers(stat);
  if (found === undefined)
    throw new StatusError(Code.FailedPrecondition, `CDI device node ${hostPath} is not a device`);
  const isSameType = node.type === undefined || node.type === found.type || (node.type === "u" && found.type === "c");
  if (!isSameType)
    throw new StatusError(
      Code.FailedPrecondition,
      `CDI device node ${hostPath} is of type ${found.type}, not ${node.type}`,
    );
  return { ...rest, ...found, fileMode: node.fileMode ?? stat.mode & 0o777 };
}

function statOf(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw new StatusError(Code.FailedPrecondition, `CDI device node ${path}: ${messageOf(error)}`, error);
  }
}
