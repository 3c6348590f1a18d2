import { Options as RuncOptions } from "./gen/containerd/runc/v1/options.ts";
import type { Any, Timestamp } from "./gen/google/protobuf/known.ts";
import { Metrics as MetricsV1 } from "./gen/io/containerd/cgroups/v1/metrics.ts";
import { Metrics as MetricsV2 } from "./gen/io/containerd/cgroups/v2/metrics.ts";
import { Options as ConfiguredOptions } from "./gen/runtimeoptions/v1/options.ts";
import { decodeMessage } from "./service-client.ts";

export const runcOptionsType = "containerd.runc.v1.Options";

/** The options of io.containerd.runc.v2, and of shims that take the same; those of `base` unless given. */
export function runcOptions(options: Partial<RuncOptions>, base?: Any): Any {
  const others = base === undefined ? {} : decodeMessage(RuncOptions, base.value, base.value.length, base.typeUrl);
  return {
    typeUrl: runcOptionsType,
    value: Buffer.from(RuncOptions.encode(RuncOptions.fromPartial({ ...others, ...options })).finish()),
  };
}

/** The options of a shim with a configuration file, such as Kata's. */
export function configuredOptions(options: Partial<ConfiguredOptions>): Any {
  return {
    typeUrl: "runtimeoptions.v1.Options",
    value: Buffer.from(ConfiguredOptions.encode(ConfiguredOptions.fromPartial(options)).finish()),
  };
}

/** A part of the OCI runtime spec, which is sent as JSON. */
export function specAny(type: "Process" | "LinuxResources", value: object): Any {
  return {
    typeUrl: `types.containerd.io/opencontainers/runtime-spec/1/${type}`,
    value: Buffer.from(JSON.stringify(value)),
  };
}

/** What a shim answers to Stats. */
export type Metrics =
  | { readonly cgroups: 1; readonly metrics: MetricsV1 }
  | { readonly cgroups: 2; readonly metrics: MetricsV2 };

/** undefined for metrics of another kind. Throws Internal when they cannot be read. */
export function metricsOf(stats: Any | undefined): Metrics | undefined {
  const type = stats?.typeUrl.split("/").at(-1);
  if (stats === undefined) return undefined;
  if (type === "io.containerd.cgroups.v1.Metrics")
    return { cgroups: 1, metrics: decodeMessage(MetricsV1, stats.value, stats.value.length, type) };
  if (type === "io.containerd.cgroups.v2.Metrics")
    return { cgroups: 2, metrics: decodeMessage(MetricsV2, stats.value, stats.value.length, type) };
  return undefined;
}

/** Nanoseconds since 1970; 0n for no time, or one before that. */
export function timestampNs(timestamp: Timestamp | undefined): bigint {
  if (timestamp === undefined || timestamp.seconds < 0n) return 0n;
  return timestamp.seconds * 1_000_000_000n + BigInt(timestamp.nanos);
}
