import type { IntelRdtSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { BlockIoSpec, ThrottleSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { Spec } from "@keelson/oci/runtime-spec/spec.ts";
import * as v from "valibot";
import { invalidField, quote } from "./field-check.ts";

/** A class of block I/O or RDT that an annotation asks for. */
export interface ClassRequest {
  name: string;
  /** The annotation that asks for it, for error messages. */
  annotation: string;
}

export interface ResourceClasses {
  blockIo?: ClassRequest;
  rdt?: ClassRequest;
}

/**
 * The names used by goresctrl, and with it by containerd and CRI-O: the container's annotation, and the prefix of the
 * pod's, for one container or for all.
 */
const annotationsOf = {
  blockIo: { container: "io.kubernetes.cri.blockio-class", pod: "blockio.resources.beta.kubernetes.io" },
  rdt: { container: "io.kubernetes.cri.rdt-class", pod: "rdt.resources.beta.kubernetes.io" },
} as const;

type Annotations = Readonly<Record<string, string>>;

/** The classes that annotations ask for. Throws InvalidArgument for a name that no class can have. */
export function planResourceClasses(containerName: string, container: Annotations, pod: Annotations): ResourceClasses {
  const blockIo = classOf("blockIo", containerName, container, pod);
  const rdt = classOf("rdt", containerName, container, pod);
  return { ...(blockIo === undefined ? {} : { blockIo }), ...(rdt === undefined ? {} : { rdt }) };
}

function classOf(
  kind: keyof typeof annotationsOf,
  containerName: string,
  container: Annotations,
  pod: Annotations,
): ClassRequest | undefined {
  const keys = annotationsOf[kind];
  const places: [string, Annotations][] = [
    [keys.container, container],
    [`${keys.pod}/container.${containerName}`, pod],
    [`${keys.pod}/pod`, pod],
  ];
  const [key, from] = places.find(([key, from]) => from[key] !== undefined) ?? ["", {}];
  const name = from[key];
  if (name === undefined) return undefined;
  // An RDT class is a directory in /sys/fs/resctrl.
  if (!/^(?!\.{1,2}$)[^/\s]{1,255}$/.test(name))
    throw invalidField(`annotations[${key}]`, `${quote(name)} cannot be the name of a class`);
  return { name, annotation: key };
}

/** A Kubernetes quantity: 50M, 1Gi, 1000. Limited to what a `Number` holds exactly. */
const quantity = v.pipe(
  v.union([v.number(), v.string()]),
  v.transform(String),
  v.regex(/^\d{1,15}(?:[kKMGT]i?)?$/, "must be a number such as 1000, 50M or 1Gi"),
  v.transform((text) => {
    const [, digits, unit = "", binary] = /^(\d+)([kKMGT])?(i)?$/.exec(text)!;
    return (
      Number(digits) * (binary === undefined ? 1000 : 1024) ** ["", "K", "M", "G", "T"].indexOf(unit.toUpperCase())
    );
  }),
  v.safeInteger("is too large"),
);

const blockIoPart = v.strictObject({
  /** Block devices by path, with `*`, `?` and `[a-z]` as in a shell. Without `Devices`, `Weight` is for all others. */
  Devices: v.optional(v.array(v.pipe(v.string(), v.startsWith("/", "must be an absolute path"), v.excludes("\0")))),
  Weight: v.optional(v.pipe(v.number(), v.integer(), v.minValue(10), v.maxValue(1000))),
  ThrottleReadBps: v.optional(quantity),
  ThrottleWriteBps: v.optional(quantity),
  ThrottleReadIOPS: v.optional(quantity),
  ThrottleWriteIOPS: v.optional(quantity),
});

const blockIoFile = v.strictObject({ Classes: v.record(v.string(), v.array(blockIoPart)) });

const rdtFile = v.strictObject({
  classes: v.record(
    v.string(),
    v.strictObject({ l3CacheSchema: v.optional(v.string()), memBwSchema: v.optional(v.string()) }),
  ),
});

export type BlockIoClass = v.InferOutput<typeof blockIoFile>["Classes"][string];

/** Parses classes of block I/O, by name, in goresctrl's format. Throws InvalidArgument naming the key. */
export function parseBlockIoClasses(value: unknown): Record<string, BlockIoClass> {
  const { Classes: classes } = parse(blockIoFile, value);
  for (const [name, parts] of Object.entries(classes)) {
    for (const [i, { Devices: devices, ...limits }] of parts.entries()) {
      if (devices === undefined && Object.keys(limits).some((key) => key !== "Weight"))
        throw invalidField(`Classes.${name}[${i}]`, "has limits for no Devices; only Weight goes without");
    }
  }
  return classes;
}

/** Parses classes of RDT, by name. Throws InvalidArgument naming the key. */
export function parseRdtClasses(value: unknown): Record<string, IntelRdtSpec> {
  const { classes } = parse(rdtFile, value);
  return Object.fromEntries(
    Object.entries(classes).map(([closID, { l3CacheSchema, memBwSchema }]) => [
      closID,
      {
        closID,
        ...(l3CacheSchema === undefined ? {} : { l3CacheSchema }),
        ...(memBwSchema === undefined ? {} : { memBwSchema }),
      },
    ]),
  );
}

function parse<T extends v.GenericSchema>(schema: T, value: unknown): v.InferOutput<T> {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw invalidField(v.getDotPath(issue) ?? "the file", issue.message);
}

/** Finds the block devices that match a pattern of the file, by their numbers. */
export type DeviceFinder = (pattern: string) => readonly { major: number; minor: number }[];

/** A class in the runtime spec's form. For a device that several parts of the class name, the last one counts. */
export function blockIoSpec(parts: BlockIoClass, find: DeviceFinder): BlockIoSpec {
  const weight = parts.findLast((part) => part.Devices === undefined)?.Weight;
  const each = parts.flatMap((part) =>
    (part.Devices ?? []).flatMap((pattern) => find(pattern).map((device) => ({ part, device }))),
  );
  const perDevice = <T>(
    of: (part: BlockIoClass[number]) => number | undefined,
    make: (device: { major: number; minor: number }, value: number) => T,
  ): T[] => {
    const found = new Map<string, T>();
    for (const { part, device } of each) {
      const value = of(part);
      if (value !== undefined) found.set(`${device.major}:${device.minor}`, make(device, value));
    }
    return [...found.values()];
  };
  const throttle = (of: (part: BlockIoClass[number]) => number | undefined): ThrottleSpec[] =>
    perDevice(of, (device, rate) => ({ ...device, rate }));
  const lists = {
    weightDevice: perDevice(
      (part) => part.Weight,
      (device, weight) => ({ ...device, weight }),
    ),
    throttleReadBpsDevice: throttle((part) => part.ThrottleReadBps),
    throttleWriteBpsDevice: throttle((part) => part.ThrottleWriteBps),
    throttleReadIOPSDevice: throttle((part) => part.ThrottleReadIOPS),
    throttleWriteIOPSDevice: throttle((part) => part.ThrottleWriteIOPS),
  };
  return {
    ...(weight === undefined ? {} : { weight }),
    ...Object.fromEntries(Object.entries(lists).filter(([, list]) => list.length > 0)),
  };
}

/** A container's spec with the limits of its classes. */
export function withResourceClasses(
  spec: Spec,
  { blockIO, intelRdt }: { blockIO?: BlockIoSpec; intelRdt?: IntelRdtSpec },
): Spec {
  return {
    ...spec,
    linux: {
      ...spec.linux,
      ...(blockIO === undefined ? {} : { resources: { ...spec.linux?.resources, blockIO } }),
      ...(intelRdt === undefined ? {} : { intelRdt }),
    },
  };
}
