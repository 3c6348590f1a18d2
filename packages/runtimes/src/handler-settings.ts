import { readFileSync, statSync } from "node:fs";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { type AnnotationGlobs, noAnnotations } from "@keelson/plan/annotation-globs.ts";
import { type BaseSpec, parseBaseSpec } from "@keelson/plan/base-spec.ts";
import type { HandlerConfig } from "./handler-section.ts";

/** What a privileged container has of the host's devices: nodes of all and their use, only their use, or no more than others. */
export type PrivilegedDevices = "all" | "allowed" | "as others";

/** What the configuration says of a handler's pods and containers. */
export interface HandlerSettings {
  readonly privilegedDevices: PrivilegedDevices;
  readonly annotations: AnnotationGlobs;
  readonly baseSpec?: BaseSpec | undefined;
  /** Where the pods' network is configured; without it they have that of all. */
  readonly cniConfDir?: string | undefined;
  /** What a pod needs beside its containers, as quantities of Kubernetes. */
  readonly overhead?: { readonly cpu?: string | undefined; readonly memory?: string | undefined } | undefined;
}

/** Those of a handler whose section says nothing. */
export const defaultHandlerSettings: HandlerSettings = { privilegedDevices: "all", annotations: noAnnotations };

const maxBaseSpecBytes = 1024 ** 2;

/** Throws FailedPrecondition for a base spec that cannot be read. */
export function settingsOf(config: HandlerConfig): HandlerSettings {
  return {
    privilegedDevices: privilegedDevicesOf(config),
    annotations: { pod: config.pod_annotations, container: config.container_annotations },
    baseSpec: config.base_spec === undefined ? undefined : readBaseSpec(config.base_spec),
    cniConfDir: config.cni_conf_dir,
    overhead: config.overhead,
  };
}

/** containerd's and CRI-O's switches, for runtimes whose containers cannot have the host's devices. */
function privilegedDevicesOf(config: HandlerConfig): PrivilegedDevices {
  if (!config.privileged_without_host_devices) return "all";
  return config.privileged_without_host_devices_all_devices_allowed ? "allowed" : "as others";
}

function readBaseSpec(path: string): BaseSpec {
  try {
    const { size } = statSync(path);
    if (size > maxBaseSpecBytes) throw new Error(`it has ${size} bytes, more than ${maxBaseSpecBytes}`);
    return parseBaseSpec(readFileSync(path, "utf8"));
  } catch (error) {
    throw new StatusError(Code.FailedPrecondition, `its base_spec ${path}: ${messageOf(error)}`, error);
  }
}
