import { Code, StatusError } from "@keelson/base/status.ts";
import type { JsonObject } from "./json.ts";

/** What one call to a network is about (CNI SPEC.md section 3, "Attachment Parameters"). */
export interface Attachment {
  readonly containerId: string;
  /** The path of the network namespace; "" when it no longer exists, which only DEL accepts. */
  readonly netns: string;
  /** The interface's name in the container. */
  readonly ifName: string;
  /** CNI_ARGS. */
  readonly args: readonly (readonly [key: string, value: string])[];
  /** By capability; each plugin gets those that it declares. */
  readonly capabilityArgs: JsonObject;
}

/**
 * Checks what becomes part of file names, environment variables and the plugins' own names. Throws InvalidArgument
 * (SPEC.md section 2, "Parameters").
 */
export function checkAttachment({ containerId, netns, ifName, args }: Attachment): void {
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,79}$/.test(containerId))
    throw invalid('container id: must be 1 to 80 letters, digits, "_", "." and "-"');
  // netdevice(7) names: dev_valid_name() in net/core/dev.c, IFNAMSIZ with its NUL.
  if (!/^[^\s/:\0]{1,15}$/.test(ifName) || ifName === "." || ifName === "..")
    throw invalid("interface name: must be 1 to 15 characters without space, / and :");
  if (netns.includes("\0")) throw invalid("network namespace: must be a path");
  for (const [key, value] of args) {
    if (!/^\w+$/.test(key)) throw invalid(`CNI_ARGS: ${JSON.stringify(key)} is not the name of an argument`);
    if (!isArgument(value)) throw invalid(`CNI_ARGS: ${key} must not contain ";"`);
  }
}

/** Whether this can be a value in CNI_ARGS, where a semicolon separates arguments. */
export function isArgument(value: string): boolean {
  return !/[;\0]/.test(value);
}

function invalid(message: string): StatusError {
  return new StatusError(Code.InvalidArgument, message);
}
