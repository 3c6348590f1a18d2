import type { CDIDevice } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { DeviceSpec, IntelRdtSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { HooksSpec, HookSpec, MountSpec, ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { cleanPath } from "./clean-path.ts";
import { invalidField, quote, unsupportedHere } from "./field-check.ts";
import type { HostFacts } from "./host-facts.ts";
import { parentsFirst } from "./mount-order.ts";

/**
 * What a container's CDI devices change in its spec, in order
 * (https://github.com/cncf-tags/container-device-interface).
 */
export interface CdiEdits {
  env: readonly string[];
  deviceNodes: readonly (DeviceSpec & { permissions: string })[];
  netDevices: readonly { hostInterfaceName: string; name: string }[];
  mounts: readonly {
    hostPath: string;
    containerPath: string;
    type?: string | undefined;
    options?: string[] | undefined;
  }[];
  hooks: readonly {
    hookName: keyof HooksSpec;
    path: string;
    args?: string[] | undefined;
    env?: string[] | undefined;
    timeout?: number | undefined;
  }[];
  additionalGids: readonly number[];
  intelRdt?: { [K in keyof IntelRdtSpec]?: IntelRdtSpec[K] | undefined };
}

/** Prefix of the annotations that device plugins used before the CRI had a field for CDI devices. */
const annotationPrefix = "cdi.k8s.io/";

const qualifiedName =
  /^[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?\/[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?=[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;

/**
 * The CDI devices that a container asks for, each once: ContainerConfig.CDI_devices, then those in its annotations, as
 * in containerd and CRI-O. Throws InvalidArgument for what is not a qualified name.
 */
export function planCdiDevices(devices: readonly CDIDevice[], annotations: Readonly<Record<string, string>>): string[] {
  const asked = devices.map(({ name }, i) => checkName(`CDI_devices[${i}].name`, name));
  const annotated = Object.entries(annotations)
    .filter(([key]) => key.startsWith(annotationPrefix))
    .flatMap(([key, value]) => value.split(",").map((name) => checkName(`annotations[${key}]`, name)));
  return [...new Set([...asked, ...annotated])];
}

function checkName(field: string, name: string): string {
  if (name.length > 600 || !qualifiedName.test(name))
    throw invalidField(field, `${quote(name)} must be a CDI device such as vendor.com/class=name`);
  return name;
}

/**
 * Applies the edits to a copy of the spec (CDI SPEC.md, "OCI Edits"). Throws FailedPrecondition for what this machine
 * or its OCI runtimes do not support.
 */
export function withCdiEdits(spec: Spec, edits: CdiEdits, host: HostFacts): Spec {
  if (edits.netDevices.length > 0)
    throw unsupportedHere(
      "CDI netDevices",
      "cannot be honoured: moving network devices needs an OCI runtime for version 1.3 of the runtime specification",
    );
  if (edits.intelRdt !== undefined && !host.resctrlMounted)
    throw unsupportedHere("CDI intelRdt", "cannot be honoured: resctrl is not mounted at /sys/fs/resctrl");
  const process = spec.process === undefined ? undefined : editProcess(spec.process, edits);
  const hooks = editHooks(spec.hooks, edits);
  return {
    ...spec,
    ...(process === undefined ? {} : { process }),
    mounts: editMounts(spec.mounts ?? [], edits),
    ...(hooks === undefined ? {} : { hooks }),
    linux: {
      ...spec.linux,
      ...editDevices(spec, edits),
      ...(edits.intelRdt === undefined ? {} : { intelRdt: withoutUndefined(edits.intelRdt) }),
    },
  };
}

function editProcess(first: ProcessSpec, { env, additionalGids }: CdiEdits): ProcessSpec {
  const nameOf = (entry: string) => entry.slice(0, entry.indexOf("="));
  const variables = new Map([...(first.env ?? []), ...env].map((entry) => [nameOf(entry), entry]));
  // CDI SPEC.md: group 0 is ignored.
  const groups = [...new Set([...(first.user.additionalGids ?? []), ...additionalGids.filter((gid) => gid !== 0)])];
  return {
    ...first,
    env: [...variables.values()],
    user: { ...first.user, ...(groups.length > 0 ? { additionalGids: groups } : {}) },
  };
}

/**
 * A node replaces one at the same path. Without an owner it belongs to the process's user, as in containerd and CRI-O.
 */
function editDevices(
  { linux, process }: Spec,
  { deviceNodes }: CdiEdits,
): Pick<NonNullable<Spec["linux"]>, "devices" | "resources"> {
  if (deviceNodes.length === 0) return {};
  const owner = {
    ...(process?.user.uid ? { uid: process.user.uid } : {}),
    ...(process?.user.gid ? { gid: process.user.gid } : {}),
  };
  const nodes = new Map((linux?.devices ?? []).map((node) => [node.path, node]));
  for (const { permissions: _, ...node } of deviceNodes) nodes.set(node.path, { ...owner, ...node });
  const rules = deviceNodes.flatMap(({ type, major, minor, permissions }) => {
    if (type === "p" || major === undefined || minor === undefined) return [];
    return [{ allow: true, type: type === "b" ? ("b" as const) : ("c" as const), major, minor, access: permissions }];
  });
  return {
    devices: [...nodes.values()],
    resources: { ...linux?.resources, devices: [...(linux?.resources?.devices ?? []), ...rules] },
  };
}

/** Mounts replace those at the same path. */
function editMounts(mounts: readonly MountSpec[], edits: CdiEdits): MountSpec[] {
  if (edits.mounts.length === 0) return [...mounts];
  const added = edits.mounts.map(({ hostPath, containerPath, type, options }) => {
    const isBind = type === undefined || type === "" || type === "none" || type === "bind";
    const bind = isBind && !(options ?? []).some((o) => o === "bind" || o === "rbind") ? ["rbind"] : [];
    return {
      destination: cleanPath(containerPath),
      type: isBind ? "bind" : type,
      source: hostPath,
      options: [...(options ?? []), ...bind],
    };
  });
  const places = new Set(added.map((m) => m.destination));
  const last = new Map(added.map((m) => [m.destination, m]));
  return parentsFirst([...mounts.filter((m) => !places.has(cleanPath(m.destination))), ...last.values()]);
}

function editHooks(hooks: HooksSpec | undefined, edits: CdiEdits): HooksSpec | undefined {
  if (edits.hooks.length === 0) return hooks;
  const edited: HooksSpec = { ...hooks };
  for (const { hookName, ...hook } of edits.hooks)
    edited[hookName] = [...(edited[hookName] ?? []), withoutUndefined<HookSpec>(hook)];
  return edited;
}

function withoutUndefined<T extends object>(value: { [K in keyof T]?: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as T;
}
