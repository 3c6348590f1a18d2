import { readFileSync, statSync } from "node:fs";
import { Code, messageOf, StatusError } from "@keelson/base/status.ts";
import { type AnnotationGlobs, noAnnotations } from "@keelson/plan/annotation-globs.ts";
import { type BaseSpec, parseBaseSpec } from "@keelson/plan/base-spec.ts";
import type { HandlerConfig } from "./handler-section.ts";

/** What a privileged container gets of the host's devices: all nodes and their use, only their use, or no more than others. */
export type PrivilegedDevices = "all" | "allowed" | "as others";

/** What the configuration says about a handler's pods and containers. */
export interface HandlerSettings {
  readonly privilegedDevices: PrivilegedDevices;
  readonly annotations: AnnotationGlobs;
  readonly baseSpec?: BaseSpec | undefined;
  /** Where the network of its pods is configured; when not given, they have the same as all others. */
  readonly cniConfDir?: string | undefined;
  /** What a pod needs besides its containers, as Kubernetes quantities. */
  readonly overhead?: { readonly cpu?: string | undefined; readonly memory?: string | undefined } | undefined;
}

/** The settings of a handler whose section says nothing. */
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

/** The keys are containerd's and CRI-O's, for runtimes whose containers cannot have the host's devices. */
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
