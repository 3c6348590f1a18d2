import type { HooksSpec, ProcessSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import * as v from "valibot";
import { cleanPath, pathDepth } from "./clean-path.ts";

/** What a handler's `base_spec` says; what a container's own spec says too is not taken from it. */
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

/** Checked where it is merged by more than its names; the rest is the runtime's to judge. */
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

/** Reads an OCI runtime spec in JSON. Throws an Error that names the property that is wrong. */
export function parseBaseSpec(text: string): BaseSpec {
  const result = v.safeParse(baseSpecSchema, JSON.parse(text));
  if (result.success) return result.output as BaseSpec;
  throw new Error(result.issues.map((issue) => `${v.getDotPath(issue) ?? "the file"}: ${issue.message}`).join("; "));
}

/** Whether a container runs where, as what and in which namespaces is never the base's to say: it is the same for all containers. */
const notOfBase = {
  spec: ["ociVersion", "root", "hostname", "domainname"],
  process: ["terminal", "consoleSize", "user", "args", "cwd"],
  linux: ["namespaces", "uidMappings", "gidMappings", "cgroupsPath", "netDevices", "rootfsPropagation", "mountLabel"],
} as const;

/**
 * A container's spec with what the base has beside it. Objects are merged and the container's own values win; so do its
 * lists, but for environment variables, limits, devices and mounts, of which it gets those that it has not itself, and
 * hooks, which run before its own.
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
    // In an order in which none hides another.
    mounts: allMounts.sort((a, b) => pathDepth(cleanPath(a.destination)) - pathDepth(cleanPath(b.destination))),
    ...(Object.keys(hooksOfBoth).length > 0 ? { hooks: hooksOfBoth } : {}),
    linux: { ...merged.linux, ...(devices.length > 0 ? { devices } : {}) },
  };
}

function without<T extends object>(object: T, keys: readonly string[]): T {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key))) as T;
}

/** Objects by their keys, anything else is `own`. */
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

/** The base's that `own` has not, then `own`. */
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
