import { Code, StatusError } from "@keelson/base/status.ts";
import * as v from "valibot";

/** The versions of the CDI specification, oldest first. Those before 0.3.0 were drafts. */
const versions = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"] as const;

/** Ends up in other programs' arguments, environments and files. */
const text = v.pipe(v.string(), v.excludes("\0", "must not have a NUL character"), v.maxLength(131_072));
const path = v.pipe(text, v.startsWith("/", "must be an absolute path"), v.maxLength(4095));
const variable = v.pipe(text, v.regex(/^[^=]+=/, "must be NAME=VALUE"));
const uint32 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 32 - 1));
/** makedev(3): 12 bits of the major number, 20 of the minor. */
const deviceNumber = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 20 - 1));
const annotations = v.optional(v.record(text, text));
const interfaceName = v.pipe(text, v.regex(/^[^\s/]{1,15}$/, "must be the name of a network interface"));

const deviceNode = v.strictObject({
  path,
  hostPath: v.optional(path),
  type: v.optional(v.picklist(["b", "c", "u", "p"])),
  major: v.optional(deviceNumber),
  minor: v.optional(deviceNumber),
  fileMode: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0o7777))),
  permissions: v.optional(v.pipe(text, v.regex(/^[rwm]*$/, "must be made of r, w and m"))),
  uid: v.optional(uint32),
  gid: v.optional(uint32),
});

const mount = v.strictObject({
  hostPath: v.pipe(text, v.nonEmpty("must not be empty")),
  containerPath: path,
  type: v.optional(text),
  options: v.optional(v.array(text)),
});

const hook = v.strictObject({
  hookName: v.picklist(["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]),
  path,
  args: v.optional(v.array(text)),
  env: v.optional(v.array(variable)),
  timeout: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1))),
});

const intelRdt = v.strictObject({
  // The name of a directory in /sys/fs/resctrl; "/" is the root class.
  closID: v.optional(v.pipe(text, v.regex(/^(?!\.{1,2}$)(?:[^/\n]{1,255}|\/)$/, "must be a file's name"))),
  l3CacheSchema: v.optional(text),
  memBwSchema: v.optional(text),
  schemata: v.optional(v.array(text)),
  enableMonitoring: v.optional(v.boolean()),
  enableCMT: v.optional(v.boolean()),
  enableMBM: v.optional(v.boolean()),
});

const containerEdits = v.strictObject({
  env: v.optional(v.array(variable)),
  deviceNodes: v.optional(v.array(deviceNode)),
  netDevices: v.optional(v.array(v.strictObject({ hostInterfaceName: interfaceName, name: interfaceName }))),
  mounts: v.optional(v.array(mount)),
  hooks: v.optional(v.array(hook)),
  additionalGids: v.optional(v.array(uint32)),
  intelRdt: v.optional(intelRdt),
});

const device = v.strictObject({
  name: v.pipe(
    v.string(),
    v.regex(
      /^[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?$/,
      "must be letters, digits, _, -, . and : between letters or digits",
    ),
    v.maxLength(253),
  ),
  annotations,
  containerEdits,
});

const spec = v.strictObject({
  cdiVersion: v.picklist(versions),
  kind: v.pipe(
    v.string(),
    v.regex(
      /^[A-Za-z](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?\/[A-Za-z](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/,
      "must be vendor.com/class",
    ),
  ),
  annotations,
  devices: v.pipe(v.array(device), v.minLength(1, "must have at least one device")),
  containerEdits: v.optional(containerEdits),
});

/** A specification file: devices of one kind, and the edits that containers with any of them get. */
export type CdiSpec = v.InferOutput<typeof spec>;
export type CdiContainerEdits = v.InferOutput<typeof containerEdits>;
export type CdiDeviceNode = v.InferOutput<typeof deviceNode>;

/**
 * Checks the content of a specification file. Throws InvalidArgument, naming the key, for anything that the
 * specification does not have, or has only in a version after the file's own.
 */
export function parseCdiSpec(value: unknown): CdiSpec {
  const result = v.safeParse(spec, value, { abortPipeEarly: true });
  if (!result.success) throw invalid(describe(result.issues[0]));
  checkFeatures(result.output);
  checkNames(result.output);
  return result.output;
}

function describe(issue: v.BaseIssue<unknown>): string {
  const key = v.getDotPath(issue) ?? "";
  if (issue.type === "strict_object" && issue.expected === "never") return `${key} is not a key of the specification`;
  if (issue.kind === "schema" && issue.received === "undefined") return `${key} is missing`;
  if (issue.kind === "schema")
    return `${key || "it"} must be ${issue.expected ?? "something else"}, not ${issue.received.slice(0, 120)}`;
  return `${key} ${issue.message.slice(0, 200)}`;
}

/** The version that brought each feature: SPEC.md, "Released versions". */
const features: readonly {
  since: (typeof versions)[number];
  name: string;
  isUsed: (spec: CdiSpec, edits: CdiContainerEdits) => boolean;
}[] = [
  { since: "0.4.0", name: "mounts.type", isUsed: (_, e) => (e.mounts ?? []).some((m) => (m.type ?? "") !== "") },
  {
    since: "0.5.0",
    name: "deviceNodes.hostPath",
    isUsed: (_, e) => (e.deviceNodes ?? []).some((n) => n.hostPath !== undefined),
  },
  {
    since: "0.5.0",
    name: "a device's name that begins with a digit",
    isUsed: (s) => s.devices.some((d) => /^\d/.test(d.name)),
  },
  {
    since: "0.6.0",
    name: "annotations",
    isUsed: (s) => [s, ...s.devices].some((part) => Object.keys(part.annotations ?? {}).length > 0),
  },
  { since: "0.6.0", name: "a dot in the class of kind", isUsed: (s) => s.kind.split("/")[1]!.includes(".") },
  { since: "0.7.0", name: "intelRdt", isUsed: (_, e) => e.intelRdt !== undefined },
  { since: "0.7.0", name: "additionalGids", isUsed: (_, e) => (e.additionalGids ?? []).length > 0 },
  { since: "1.1.0", name: "netDevices", isUsed: (_, e) => (e.netDevices ?? []).length > 0 },
  {
    since: "1.1.0",
    name: "intelRdt.schemata and enableMonitoring",
    isUsed: (_, e) => e.intelRdt?.schemata !== undefined || e.intelRdt?.enableMonitoring !== undefined,
  },
];

function checkFeatures(spec: CdiSpec): void {
  const own = versions.indexOf(spec.cdiVersion);
  const edits = [spec.containerEdits ?? {}, ...spec.devices.map((d) => d.containerEdits)];
  for (const { since, name, isUsed } of features) {
    if (versions.indexOf(since) > own && edits.some((e) => isUsed(spec, e)))
      throw invalid(`cdiVersion is ${spec.cdiVersion}, but ${name} needs ${since}`);
  }
  const isNewest = spec.cdiVersion === "1.1.0";
  if (isNewest && edits.some((e) => e.intelRdt?.enableCMT !== undefined || e.intelRdt?.enableMBM !== undefined))
    throw invalid("intelRdt.enableCMT and enableMBM ended with 1.0.0; use enableMonitoring");
}

function checkNames({ devices }: CdiSpec): void {
  const seen = new Set<string>();
  for (const { name } of devices) {
    if (seen.has(name)) throw invalid(`devices has ${JSON.stringify(name)} twice`);
    seen.add(name);
  }
}

function invalid(problem: string): StatusError {
  return new StatusError(Code.InvalidArgument, problem);
}
