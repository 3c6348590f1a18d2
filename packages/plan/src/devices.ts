import type { Device, LinuxContainerSecurityContext } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { DeviceSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { DeviceRuleSpec } from "@keelson/oci/runtime-spec/resources.ts";
import { checkHostPath, containerPath } from "./clean-path.ts";
import { invalidField, quote } from "./field-check.ts";

/** A device that the config asks for; the effects side looks at `hostPath` (links followed). Plain JSON. */
export interface DeviceRequest {
  hostPath: string;
  /** Clean and absolute. */
  containerPath: string;
  /** Of `r`, `w` and `m` (mknod). */
  permissions: string;
}

/** A device node of the host as stat(2) has it, under its path in the container. */
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
 * Whose the devices are where the configuration gives them to the container's user (as containerd's and CRI-O's
 * device_ownership_from_security_context): what the security context says, and nothing of what it does not say.
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

/** CRI: ContainerConfig.devices. Throws InvalidArgument for bad paths and permissions. */
export function planDevices(devices: readonly Device[]): DeviceRequest[] {
  return devices.map((device, i) => {
    const field = `devices[${i}]`;
    checkHostPath(`${field}.host_path`, device.hostPath);
    const path = containerPath(
      `${field}.container_path`,
      device.containerPath === "" ? device.hostPath : device.containerPath,
    );
    // containerd and CRI-O, too, take no permissions for all of them.
    const permissions = device.permissions === "" ? "rwm" : device.permissions;
    if (!/^(?!.*(.).*\1)[rwm]+$/.test(permissions))
      throw invalidField(`${field}.permissions`, `${quote(permissions)} must be made of r, w and m`);
    return { hostPath: device.hostPath, containerPath: path, permissions };
  });
}

/** The nodes to make. Those asked for win over those that a privileged container gets anyway. */
export function devicesSpec(asked: readonly ResolvedDevice[], ofHost: readonly ResolvedDevice[]): DeviceSpec[] {
  const nodes = new Map<string, DeviceSpec>();
  for (const { path, type, major, minor, fileMode, uid, gid } of [...ofHost, ...asked])
    nodes.set(path, { path, type, major, minor, fileMode, uid, gid });
  return [...nodes.values()];
}

/**
 * Nothing but what is asked for, of several at a path the last; the runtimes add null, zero, tty and their like
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
