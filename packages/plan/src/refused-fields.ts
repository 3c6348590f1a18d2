import type { FieldDescriptor } from "@keelson/cri/descriptor.ts";
import { enumName, fieldsOf } from "@keelson/cri/json.ts";
import { invalidField } from "./field-check.ts";

/**
 * What becomes of a field.
 * - honoured: what it says is done, or refused by the value (then the plan's code says so)
 * - hint: it may be set, and nothing needs to be done for it; why
 * - windows: has no meaning on Linux; any value is InvalidArgument
 */
export type FieldState = { is: "honoured" } | { is: "hint"; why: string } | { is: "windows" };

const honoured: FieldState = { is: "honoured" };
const windows: FieldState = { is: "windows" };

function hint(why: string): FieldState {
  return { is: "hint", why };
}

const podProcess =
  "says as whom and how confined the pod's own process runs: there is none, or an init of ours that runs nothing of the pod's";
const podSizing =
  "is checked, noted and shown by the pod's verbose status: the kubelet itself sets the limits of the pod's cgroup";

/** CRI: ImageSpec, for an image that has been pulled. */
function imageSpec(path: string): Record<string, FieldState> {
  return {
    [`${path}.image`]: honoured,
    [`${path}.user_specified_image`]: honoured,
    [`${path}.annotations`]: hint("is told back; nothing hangs on an image's annotations"),
    [`${path}.runtime_handler`]: hint("is told back; every handler has the same images"),
    [`${path}.image_ref`]: hint("is told back; the image is found by its name or id"),
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
      "is the root of the pod's own process: it has no file system of its own",
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
    annotations: hint("is for runtimes that know more resources; those here know none"),
  },
};

export type ConfigType = "PodSandboxConfig" | "ContainerConfig" | "UpdateContainerResourcesRequest";

/** The state of a field by its path, such as `mounts.image.image`; undefined when the table forgot it. */
export function fieldState(type: ConfigType, path: string): FieldState | undefined {
  const parts = path.split(".");
  const found = parts.map((_, i) => fieldStates[type]?.[parts.slice(0, i + 1).join(".")]);
  return found.find((state) => state !== undefined);
}

/** The paths that the table has for a message, for the test that compares it with the protocol. */
export function statedPaths(type: ConfigType): string[] {
  return Object.keys(fieldStates[type] ?? {});
}

/**
 * No field is silently ignored: throws InvalidArgument for a field that has no meaning on Linux, when
 * anything in it is set, and for an enum's number that the CRI does not have. The message begins with
 * the field's path, with the index of list elements.
 */
export function refuseUnhonouredFields(type: ConfigType, config: object): void {
  checkMessage({ type, message: type, path: "", shown: "" }, config);
}

/** Where the walk is: `path` as the table has it, `shown` as the error says it. */
interface Place {
  type: ConfigType;
  message: string;
  path: string;
  shown: string;
}

function checkMessage(place: Place, message: object): void {
  for (const field of fieldsOf(place.message)) {
    const value: unknown = (message as Record<string, unknown>)[field.key];
    if (!isSet(field, value)) continue;
    const path = join(place.path, field.name);
    const shown = join(place.shown, field.name);
    refuse(fieldState(place.type, path), shown);
    const values = field.repeated === true ? (value as unknown[]) : [value];
    values.forEach((v, i) =>
      checkValue(place.type, field, v, path, field.repeated === true ? `${shown}[${i}]` : shown),
    );
  }
}

function checkValue(type: ConfigType, field: FieldDescriptor, value: unknown, path: string, shown: string): void {
  if (field.kind === "message" && value !== undefined)
    checkMessage({ type, message: field.of!, path, shown }, value as object);
  if (field.kind === "enum" && enumName(field.of!, value as number) === String(value)) {
    throw invalidField(shown, `${String(value)} is not a value of ${field.of!}`);
  }
}

function refuse(state: FieldState | undefined, shown: string): void {
  if (state?.is === "windows") throw invalidField(shown, "is only for Windows; this runtime runs Linux containers");
}

/** Whether a field has another value than its default anywhere in it. */
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
