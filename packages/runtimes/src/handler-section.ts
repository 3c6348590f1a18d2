import { basename } from "node:path";
import { isAnnotationGlob } from "@keelson/plan/annotation-globs.ts";
import * as v from "valibot";
import { absolutePath } from "./config-values.ts";

/** A path, or a name to look up in PATH. */
const program = v.pipe(v.string(), v.nonEmpty("must name a program"), v.excludes("\0"));

const globs = v.array(
  v.pipe(v.string(), v.check(isAnnotationGlob, "must be an annotation's key, with * and ? for what may differ")),
);

/** A Kubernetes resource quantity: 250m, 160Mi. */
const quantity = v.pipe(
  v.string(),
  v.regex(/^\d+(\.\d+)?(m|k|M|G|Ki|Mi|Gi)?$/, "must be a quantity such as 250m or 160Mi"),
);

/** `[runtimes.NAME]` as it is written; `completeHandler` fills in what is left out. */
export const handlerSection = v.strictObject({
  /** How to drive it: `oci` with a monitor and the runtime's command line, `shim` with containerd's shim API v2. */
  type: v.optional(v.picklist(["oci", "shim"]), "oci"),
  path: v.optional(program),
  /** Where the runtime keeps its state; by default STATE/runtimes/NAME. */
  root: v.optional(absolutePath),
  /** Arguments before the runtime's command. */
  args: v.optional(v.array(v.string())),
  /** The monitor of this handler's containers; by default that of the key `conmon`. */
  monitor: v.optional(program),
  /** What a shim is given with each container. */
  options: v.optional(v.record(v.string(), v.unknown())),
  /** Whether a pod itself is a container of the runtime, which the pod's containers join. */
  sandbox: v.optional(v.picklist(["none", "container"])),
  /** Which annotations of pods and of containers the runtime gets to see. */
  pod_annotations: v.optional(globs, []),
  container_annotations: v.optional(globs, []),
  privileged_without_host_devices: v.optional(v.boolean(), false),
  /** With the key above: whether a privileged container may use every device for which it makes a node. */
  privileged_without_host_devices_all_devices_allowed: v.optional(v.boolean(), false),
  /** A file with an OCI runtime spec in JSON, for what a container's own spec does not say. */
  base_spec: v.optional(absolutePath),
  /** Where the network of this handler's pods is configured; by default cni.conf_dir. */
  cni_conf_dir: v.optional(absolutePath),
  /** What its pods need besides their containers, as in the RuntimeClass. */
  overhead: v.optional(v.strictObject({ cpu: v.optional(quantity), memory: v.optional(quantity) })),
  /** What a runtime can do, where it cannot be asked. */
  features: v.optional(
    v.strictObject({
      user_namespaces: v.optional(v.boolean()),
      recursive_read_only_mounts: v.optional(v.boolean()),
      /** Whether its pods can be in the node's network, see its processes, and have its devices. */
      host_network: v.optional(v.boolean()),
      host_pid: v.optional(v.boolean()),
      host_devices: v.optional(v.boolean()),
    }),
    {},
  ),
});

export type HandlerSection = v.InferOutput<typeof handlerSection>;

/** A handler with everything filled in that its section may leave out. */
export interface HandlerConfig extends Omit<HandlerSection, "path" | "args" | "options" | "sandbox"> {
  readonly name: string;
  readonly path: string;
  readonly args: readonly string[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly sandbox: "none" | "container";
  /** Whether the configuration has a section for it: then it is a mistake when its program is missing. */
  readonly isConfigured: boolean;
}

/** Handlers that need no section: they exist when their binary does. The first of them is the default. */
export const builtInRuntimes: readonly string[] = ["crun", "runc", "runsc"];

/** The built-in handlers, according to their sections where they have one, then the other sections' handlers. */
export function handlersOf(sections: Readonly<Record<string, HandlerSection>>): HandlerConfig[] {
  const names = new Set([...builtInRuntimes, ...Object.keys(sections)]);
  return [...names].map((name) => completeHandler(name, Object.hasOwn(sections, name) ? sections[name] : undefined));
}

function completeHandler(name: string, written: HandlerSection | undefined): HandlerConfig {
  const section = written ?? v.parse(handlerSection, {});
  const path = section.path ?? name;
  const program = section.type === "shim" ? shimProgram(path) : path;
  const isGvisor = section.type === "oci" && isRunsc(program);
  return {
    ...section,
    name,
    path: program,
    // systrap needs neither KVM nor ptrace. Without gVisor's own overlay, what a container writes is on the disk when
    // its usage is measured, and a full disk fails the write.
    args: section.args ?? (isGvisor ? ["--platform=systrap", "--overlay2=none"] : []),
    options: section.options ?? {},
    sandbox: section.sandbox ?? (isGvisor || (section.type === "shim" && !isRuncShim(program)) ? "container" : "none"),
    isConfigured: written !== undefined,
  };
}

/** What is wrong with the keys of a section together; each problem begins with the name of a key. */
export function problemsOfHandler(name: string, section: HandlerSection): string[] {
  const problem = (key: string, text: string) => `runtimes.${name}.${key}: ${text}`;
  if (section.path === undefined && !builtInRuntimes.includes(name)) return [problem("path", "is required")];
  if (section.type === "oci" && section.sandbox === "none" && isRunsc(section.path ?? name))
    return [
      problem("sandbox", 'must be "container", which is the default: gVisor runs the containers of a pod in one'),
    ];
  if (section.type === "oci")
    return section.options === undefined
      ? []
      : [problem("options", 'is only for type = "shim"; an OCI runtime takes args')];
  if (section.path === undefined)
    return [problem("path", 'is required with type = "shim", such as "io.containerd.runc.v2"')];
  return [
    ...(["args", "monitor"] as const)
      .filter((key) => section[key] !== undefined)
      .map((key) => problem(key, 'is only for type = "oci"; a shim takes options')),
    ...problemsOfOptions(isRuncShim(shimProgram(section.path)) ? runcOptions : otherOptions, section.options ?? {}).map(
      ([key, text]) => problem(`options.${key}`, text),
    ),
  ];
}

/** containerd names a shim by what it implements: io.containerd.runc.v2 means the program containerd-shim-runc-v2. */
export function shimProgram(pathOrName: string): string {
  const [, runtime, version] = /^[^/]+\.([^./]+)\.(v\d+)$/.exec(pathOrName) ?? [];
  return version === undefined ? pathOrName : `containerd-shim-${runtime}-${version}`;
}

/** gVisor's runtime, whose containers run in a sandbox of their pod. */
export function isRunsc(program: string): boolean {
  return basename(program) === "runsc";
}

/** The Open Container Initiative's own runtime. */
export function isRunc(program: string): boolean {
  return basename(program) === "runc";
}

/** containerd's own shim, which runs containers with an OCI runtime of the machine. */
export function isRuncShim(program: string): boolean {
  return /^containerd-shim-runc-v\d+$/.test(basename(program));
}

type OptionTypes = Readonly<Record<string, "string" | "boolean" | "number">>;

/** containerd.runc.v1.Options, under the names that containerd's configuration has for them. */
const runcOptions: OptionTypes = {
  BinaryName: "string",
  CriuImagePath: "string",
  CriuWorkPath: "string",
  IoGid: "number",
  IoUid: "number",
  NoNewKeyring: "boolean",
  NoPivotRoot: "boolean",
  Root: "string",
  ShimCgroup: "string",
  SystemdCgroup: "boolean",
};

/** runtimeoptions.v1.Options, which all other shims take, or a message of any type as TypeUrl and Value in base64. */
const otherOptions: OptionTypes = { ConfigBody: "string", ConfigPath: "string", TypeUrl: "string", Value: "string" };

function problemsOfOptions(known: OptionTypes, options: Readonly<Record<string, unknown>>): [string, string][] {
  return Object.entries(options).flatMap(([key, value]): [string, string][] => {
    const type = Object.hasOwn(known, key) ? known[key] : undefined;
    if (type === undefined) return [[key, `is none of this shim's options: ${Object.keys(known).join(", ")}`]];
    return typeof value === type ? [] : [[key, `must be a ${type}`]];
  });
}
