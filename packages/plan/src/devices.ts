import type { Device, LinuxContainerSecurityContext } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { DeviceSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { DeviceRuleSpec } from "@keelson/oci/runtime-spec/resources.ts";
import { checkHostPath, containerPath } from "./clean-path.ts";
import { invalidField, quote } from "./field-check.ts";
import { type HandlerFacts, lacking } from "./host-facts.ts";

/** A device that the config asks for. What `hostPath` is, with links followed, is found out later. Plain JSON. */
export interface DeviceRequest {
  hostPath: string;
  /** Clean and absolute. */
  containerPath: string;
  /** A combination of `r`, `w` and `m` (mknod). */
  permissions: string;
}

/** A device node of the host as stat(2) describes it, with its path in the container. */
export interface ResolvedDevice {
  path: string;
  type: "c" | "b";
  major: number;
  minor: number;
  /** Permission bits only. */
  fileMode: number;
  uid: number;
  gid: number;
  permissions: string;
}

/**
 * The owner of devices where the configuration gives them to the container's user (as with containerd's and CRI-O's
 * device_ownership_from_security_context): the ids that the security context has, and no others.
 */
export function deviceOwner(security: Pick<LinuxContainerSecurityContext, "runAsUser" | "runAsGroup"> | undefined): {
  uid?: number;
  gid?: number;
} {
  const { runAsUser, runAsGroup } = security ?? {};
  return {
    ...(runAsUser === undefined ? {} : { uid: Number(runAsUser.value) }),
    ...(runAsGroup === undefined ? {} : { gid: Number(runAsGroup.value) }),
  };
}

/**
 * CRI: ContainerConfig.devices. Throws InvalidArgument for bad paths and permissions, FailedPrecondition for a handler
 * that has no devices of the node.
 */
export function planDevices(devices: readonly Device[], handler: HandlerFacts): DeviceRequest[] {
  if (devices.length > 0 && handler.lacks?.hostDevices === true)
    throw lacking(handler, "devices", "devices of the node", "host_devices");
  return devices.map((device, i) => {
    const field = `devices[${i}]`;
    checkHostPath(`${field}.host_path`, device.hostPath);
    const path = containerPath(
      `${field}.container_path`,
      device.containerPath === "" ? device.hostPath : device.containerPath,
    );
    // As in containerd and CRI-O, no permissions means all of them.
    const permissions = device.permissions === "" ? "rwm" : device.permissions;
    if (!/^(?!.*(.).*\1)[rwm]+$/.test(permissions))
      throw invalidField(`${field}.permissions`, `${quote(permissions)} must be made of r, w and m`);
    return { hostPath: device.hostPath, containerPath: path, permissions };
  });
}

/** The nodes to make. Those asked for replace those that a privileged container gets anyway. */
export function devicesSpec(asked: readonly ResolvedDevice[], ofHost: readonly ResolvedDevice[]): DeviceSpec[] {
  const nodes = new Map<string, DeviceSpec>();
  for (const { path, type, major, minor, fileMode, uid, gid } of [...ofHost, ...asked])
    nodes.set(path, { path, type, major, minor, fileMode, uid, gid });
  return [...nodes.values()];
}

/**
 * Only the devices that are asked for, the last of several at the same path; the runtimes add null, zero, tty and so on
 * (config-linux.md#default-devices).
 */
export function deviceRules(asked: readonly ResolvedDevice[], allAreAllowed: boolean): DeviceRuleSpec[] {
  if (allAreAllowed) return [{ allow: true, access: "rwm" }];
  const made = new Map(asked.map((device) => [device.path, device]));
  return [
    { allow: false, access: "rwm" },
    ...[...made.values()].map(({ type, major, minor, permissions }) => ({
      allow: true,
      type,
      major,
      minor,
      access: permissions,
    })),
  ];
}
