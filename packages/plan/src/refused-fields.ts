import type { FieldDescriptor } from "@keelson/cri/descriptor.ts";
import { enumName, fieldsOf } from "@keelson/cri/json.ts";
import { invalidField } from "./field-check.ts";

/**
 * What happens with a field.
 * - honoured: it takes effect, or its value is refused by the code that plans it
 * - hint: it may be set, and nothing needs to be done for it, for the given reason
 * - windows: it has no meaning on Linux; any value is InvalidArgument
 */
export type FieldState = { is: "honoured" } | { is: "hint"; why: string } | { is: "windows" };

const honoured: FieldState = { is: "honoured" };
const windows: FieldState = { is: "windows" };

function hint(why: string): FieldState {
  return { is: "hint", why };
}

const podProcess =
  "sets the user and confinement of the pod's own process: there is none, or an init process of ours that runs nothing of the pod's";
const podSizing =
  "is checked, recorded and shown by the pod's verbose status: the kubelet itself sets the limits of the pod's cgroup";

/** CRI: ImageSpec, for an image that has been pulled. */
function imageSpec(path: string): Record<string, FieldState> {
  return {
    [`${path}.image`]: honoured,
    [`${path}.user_specified_image`]: honoured,
    [`${path}.annotations`]: hint("is returned in the status; an image's annotations have no effect"),
    [`${path}.runtime_handler`]: hint("is returned in the status; all handlers share their images"),
    [`${path}.image_ref`]: hint("is returned in the status; the image is found by its name or id"),
  };
}

/** A path stands for everything below it. Lists and their elements have the same path. */
const fieldStates: Readonly<Record<string, Readonly<Record<string, FieldState>>>> = {
  PodSandboxConfig: {
    metadata: honoured,
    hostname: honoured,
    log_directory: honoured,
    dns_config: honoured,
    port_mappings: honoured,
    labels: honoured,
    annotations: honoured,
    "linux.cgroup_parent": honoured,
    "linux.security_context.namespace_options": honoured,
    "linux.security_context.selinux_options": honoured,
    "linux.security_context.run_as_user": hint(podProcess),
    "linux.security_context.run_as_group": hint(podProcess),
    "linux.security_context.readonly_rootfs": hint(
      "is for the root of the pod's own process, which has no file system of its own",
    ),
    "linux.security_context.supplemental_groups": hint(podProcess),
    "linux.security_context.supplemental_groups_policy": hint(podProcess),
    "linux.security_context.privileged": honoured,
    "linux.security_context.seccomp": hint(podProcess),
    "linux.security_context.apparmor": hint(podProcess),
    "linux.security_context.seccomp_profile_path": hint(podProcess),
    "linux.sysctls": honoured,
    "linux.overhead": hint(podSizing),
    "linux.resources": hint(podSizing),
    windows,
  },
  ContainerConfig: {
    metadata: honoured,
    ...imageSpec("image"),
    command: honoured,
    args: honoured,
    working_dir: honoured,
    envs: honoured,
    "mounts.container_path": honoured,
    "mounts.host_path": honoured,
    "mounts.readonly": honoured,
    "mounts.selinux_relabel": honoured,
    "mounts.propagation": honoured,
    "mounts.uidMappings": honoured,
    "mounts.gidMappings": honoured,
    "mounts.recursive_read_only": honoured,
    ...imageSpec("mounts.image"),
    "mounts.image_sub_path": honoured,
    devices: honoured,
    labels: honoured,
    annotations: honoured,
    log_path: honoured,
    stdin: honoured,
    stdin_once: honoured,
    tty: honoured,
    "linux.resources": honoured,
    "linux.security_context": honoured,
    windows,
    CDI_devices: honoured,
    stop_signal: honoured,
  },
  UpdateContainerResourcesRequest: {
    container_id: honoured,
    linux: honoured,
    windows,
    annotations: hint("is for runtimes with further resources; those used here have none"),
  },
};

export type ConfigType = "PodSandboxConfig" | "ContainerConfig" | "UpdateContainerResourcesRequest";

/** The state of a field by its path, such as `mounts.image.image`; undefined when it is missing from the table. */
export function fieldState(type: ConfigType, path: string): FieldState | undefined {
  const parts = path.split(".");
  const found = parts.map((_, i) => fieldStates[type]?.[parts.slice(0, i + 1).join(".")]);
  return found.find((state) => state !== undefined);
}

/** The paths in a message's table, for the test that compares it with the protocol. */
export function statedPaths(type: ConfigType): string[] {
  return Object.keys(fieldStates[type] ?? {});
}

/**
 * No field is silently ignored: throws InvalidArgument when a field that has no meaning on Linux is set, and for a
 * number that the CRI's enum does not have. The message begins with the field's path, with the indexes of list
 * elements.
 */
export function refuseUnhonouredFields(type: ConfigType, config: object): void {
  checkMessage({ type, path: "", shown: "" }, type, config);
}

/** A field, or the message as a whole: `path` is its path in the table, `shown` the one in the error. */
interface Place {
  type: ConfigType;
  path: string;
  shown: string;
}

function checkMessage(place: Place, name: string, message: object): void {
  for (const field of fieldsOf(name)) {
    const value: unknown = (message as Record<string, unknown>)[field.key];
    if (!isSet(field, value)) continue;
    const path = join(place.path, field.name);
    const shown = join(place.shown, field.name);
    refuse(fieldState(place.type, path), shown);
    const values = field.repeated === true ? (value as unknown[]) : [value];
    values.forEach((each, i) =>
      checkValue({ ...place, path, shown: field.repeated === true ? `${shown}[${i}]` : shown }, field, each),
    );
  }
}

function checkValue(place: Place, field: FieldDescriptor, value: unknown): void {
  if (field.kind === "message" && value !== undefined) checkMessage(place, field.of!, value as object);
  if (field.kind === "enum" && enumName(field.of!, value as number) === String(value)) {
    throw invalidField(place.shown, `${String(value)} is not a value of ${field.of!}`);
  }
}

function refuse(state: FieldState | undefined, shown: string): void {
  if (state?.is === "windows") throw invalidField(shown, "is only for Windows; this runtime runs Linux containers");
}

/** Whether a field, or anything in it, has a value other than the default. */
function isSet(field: FieldDescriptor, value: unknown): boolean {
  if (value === undefined) return false;
  if (field.repeated === true) return (value as unknown[]).length > 0;
  switch (field.kind) {
    case "message":
      return fieldsOf(field.of!).some((f) => isSet(f, (value as Record<string, unknown>)[f.key]));
    case "map":
      return Object.keys(value as object).length > 0;
    case "bytes":
      return (value as Uint8Array).length > 0;
    case "string":
    case "bool":
    case "int32":
    case "uint32":
    case "int64":
    case "uint64":
    case "double":
    case "enum":
      // "", false, 0 and 0n
      return Boolean(value);
  }
}

function join(parent: string, name: string): string {
  return parent === "" ? name : `${parent}.${name}`;
}
