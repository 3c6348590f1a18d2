import type { HooksSpec, ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import * as v from "valibot";
import { cleanPath } from "./clean-path.ts";
import { parentsFirst } from "./mount-order.ts";

/** A handler's `base_spec`. Where a container's own spec has a value too, that one is used. */
export type BaseSpec = Omit<Partial<Spec>, "process"> & { process?: Partial<ProcessSpec> };

const strings = v.array(v.string());
const absolute = v.pipe(v.string(), v.startsWith("/", "must be an absolute path"));
const hooks = v.array(
  v.looseObject({
    path: absolute,
    args: v.optional(strings),
    env: v.optional(strings),
    timeout: v.optional(v.number()),
  }),
);

/** Checks what is merged by more than property names; the rest is left to the runtime. */
const baseSpecSchema = v.pipe(
  v.custom<object>((value) => isObject(value), "must be an object"),
  v.looseObject({
    process: v.optional(
      v.looseObject({
        env: v.optional(strings),
        rlimits: v.optional(v.array(v.looseObject({ type: v.string(), soft: v.number(), hard: v.number() }))),
      }),
    ),
    mounts: v.optional(v.array(v.looseObject({ destination: absolute }))),
    hooks: v.optional(
      v.strictObject({
        prestart: v.optional(hooks),
        createRuntime: v.optional(hooks),
        createContainer: v.optional(hooks),
        startContainer: v.optional(hooks),
        poststart: v.optional(hooks),
        poststop: v.optional(hooks),
      }),
    ),
    annotations: v.optional(v.record(v.string(), v.string())),
    linux: v.optional(
      v.looseObject({
        devices: v.optional(v.array(v.looseObject({ path: absolute, type: v.string() }))),
        sysctl: v.optional(v.record(v.string(), v.string())),
      }),
    ),
  }),
);

/** Parses an OCI runtime spec in JSON. Throws an Error that names the property that is wrong. */
export function parseBaseSpec(text: string): BaseSpec {
  const result = v.safeParse(baseSpecSchema, JSON.parse(text));
  if (result.success) return result.output as BaseSpec;
  throw new Error(result.issues.map((issue) => `${v.getDotPath(issue) ?? "the file"}: ${issue.message}`).join("; "));
}

/**
 * The base is the same for all containers, so it cannot say where, as whom and in which namespaces one of them runs.
 */
const notOfBase = {
  spec: ["ociVersion", "root", "hostname", "domainname"],
  process: ["terminal", "consoleSize", "user", "args", "cwd"],
  linux: ["namespaces", "uidMappings", "gidMappings", "cgroupsPath", "netDevices", "rootfsPropagation", "mountLabel"],
} as const;

/**
 * A container's spec, completed from the base. Objects are merged, and the container's own values win. Lists are
 * replaced by the container's too, with two exceptions: environment variables, limits, devices and mounts that the
 * container does not have itself are added, and the base's hooks run before its own.
 */
export function withBaseSpec(spec: Spec, base: BaseSpec): Spec {
  const {
    process: baseProcess = {},
    mounts = [],
    linux = {},
    hooks: baseHooks = {},
    ...rest
  } = without(base, notOfBase.spec);
  const { process: ownProcess, linux: ownLinux = {} } = spec;
  const merged: Spec = merge(
    { ...rest, process: without(baseProcess, notOfBase.process), linux: without(linux, notOfBase.linux) },
    spec,
  );
  const hooksOfBoth = joinHooks(baseHooks, spec.hooks ?? {});
  const env = added(baseProcess.env ?? [], ownProcess?.env ?? [], (entry) => entry.slice(0, entry.indexOf("=")));
  const rlimits = added(baseProcess.rlimits ?? [], ownProcess?.rlimits ?? [], (limit) => limit.type);
  const devices = added(linux.devices ?? [], ownLinux.devices ?? [], (device) => cleanPath(device.path));
  const allMounts = added(mounts, spec.mounts ?? [], (mount) => cleanPath(mount.destination));
  return {
    ...merged,
    process: { ...merged.process!, env, ...(rlimits.length > 0 ? { rlimits } : {}) },
    mounts: parentsFirst(allMounts),
    ...(Object.keys(hooksOfBoth).length > 0 ? { hooks: hooksOfBoth } : {}),
    linux: { ...merged.linux, ...(devices.length > 0 ? { devices } : {}) },
  };
}

function without<T extends object>(object: T, keys: readonly string[]): T {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key))) as T;
}

/** Merges objects key by key; any other value is that of `own`. */
function merge<T extends object>(base: object, own: T): T {
  const below = new Map<string, unknown>(Object.entries(base));
  const entries = Object.entries(own)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]: [string, unknown]): [string, unknown] => {
      const other = below.get(key);
      return [key, isObject(other) && isObject(value) ? merge(other, value) : value];
    });
  return Object.fromEntries([...below, ...entries]) as T;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The items of `base` whose keys `own` does not have, then `own`. */
function added<T>(base: readonly T[], own: readonly T[], keyOf: (item: T) => string): T[] {
  const keys = new Set(own.map(keyOf));
  return [...base.filter((item) => !keys.has(keyOf(item))), ...own];
}

function joinHooks(base: HooksSpec, own: HooksSpec): HooksSpec {
  const joined: HooksSpec = {};
  for (const kind of [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
  ] as const) {
    const both = [...(base[kind] ?? []), ...(own[kind] ?? [])];
    if (both.length > 0) joined[kind] = both;
  }
  return joined;
}
