import { NamespaceMode, type NamespaceOption } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { NamespaceSpec } from "@keelson/oci/runtime-spec/linux.ts";
import { checkNamePart, invalidField, unsupportedHere } from "./field-check.ts";
import type { HostFacts } from "./host-facts.ts";
import type { PodPlan } from "./pod-plan.ts";
import { checkContainerUserNamespace } from "./user-namespace.ts";

/** The PID namespace of a container: the pod's, its own, the host's, or that of another container. */
export type PidNamespacePlan = { is: "pod" } | { is: "own" } | { is: "host" } | { is: "target"; targetId: string };

/** Paths of namespaces that exist, pinned or `/proc/PID/ns/…`; those that are the host's are left out. */
export interface NamespacePaths {
  user?: string;
  network?: string;
  ipc?: string;
  uts?: string;
  /** Of the pod's init, or of the target container. */
  pid?: string;
}

/**
 * Which PID namespace a container gets. Network and IPC are always the pod's; asking for the host's
 * in a pod that has its own is an error. Without namespace_options all of them are as the pod has
 * them. Throws InvalidArgument, or FailedPrecondition where the pod was made without a shared PID
 * namespace and the container asks for it.
 */
export function planContainerNamespaces(options: NamespaceOption | undefined, pod: PodPlan): PidNamespacePlan {
  const field = "linux.security_context.namespace_options";
  if (options === undefined) return podsPid(pod);
  checkContainerUserNamespace(`${field}.userns_options`, options.usernsOptions, pod.userNamespace);
  checkShared(`${field}.network`, options.network, pod.network);
  checkShared(`${field}.ipc`, options.ipc, pod.ipc);
  if (options.targetId !== "" && options.pid !== NamespaceMode.TARGET)
    throw invalidField(`${field}.target_id`, "is only for the pid mode TARGET");
  return containerPid(field, options, pod);
}

/** The namespaces of the runtime spec: what is not listed is the host's. */
export function namespacesSpec(
  pid: PidNamespacePlan,
  pod: Pick<PodPlan, "userNamespace" | "network" | "ipc" | "uts">,
  paths: NamespacePaths,
  ownCgroup: boolean,
): NamespaceSpec[] {
  const namespaces: NamespaceSpec[] = [];
  if (pod.userNamespace !== undefined) namespaces.push(joined("user", paths.user));
  if (pid.is === "own") namespaces.push({ type: "pid" });
  else if (pid.is !== "host") namespaces.push(joined("pid", paths.pid));
  if (pod.network === "own") namespaces.push(joined("network", paths.network));
  if (pod.ipc === "own") namespaces.push(joined("ipc", paths.ipc));
  if (pod.uts === "own") namespaces.push(joined("uts", paths.uts));
  namespaces.push({ type: "mount" });
  if (ownCgroup) namespaces.push({ type: "cgroup" });
  return namespaces;
}

/**
 * A cgroup namespace hides the host's tree where there is one tree (cgroup_namespaces(7)); as with
 * containerd and CRI-O not on v1, where its mounts confuse older software, nor for privileged
 * containers, which are to see the host. In a user namespace only one of its own can be mounted.
 */
export function hasCgroupNamespace(host: HostFacts, pod: Pick<PodPlan, "userNamespace">, privileged: boolean): boolean {
  return host.cgroupVersion === "v2" && (!privileged || pod.userNamespace !== undefined);
}

function joined(type: NamespaceSpec["type"], path: string | undefined): NamespaceSpec {
  // A mistake in the program, and without the path the runtime would silently make a new one.
  if (path === undefined) throw new Error(`the path of the pod's ${type} namespace is missing`);
  return { type, path };
}

function podsPid(pod: PodPlan): PidNamespacePlan {
  return pod.pid === "container" ? { is: "own" } : { is: pod.pid };
}

function checkShared(field: string, mode: NamespaceMode, pods: "own" | "host"): void {
  // POD is the pod's, which may be the host's: the config of the pod has said so.
  if (mode === NamespaceMode.POD || (mode === NamespaceMode.NODE && pods === "host")) return;
  if (mode === NamespaceMode.NODE)
    throw invalidField(field, "is NODE, but the pod has its own; ask for NODE in the config of the pod too");
  throw invalidField(field, "must be POD or NODE");
}

function containerPid(field: string, options: NamespaceOption, pod: PodPlan): PidNamespacePlan {
  switch (options.pid) {
    case NamespaceMode.CONTAINER:
      return { is: "own" };
    case NamespaceMode.NODE:
      if (pod.pid !== "host")
        throw invalidField(`${field}.pid`, "is NODE, but the pod's is not; ask for NODE in the config of the pod too");
      return { is: "host" };
    case NamespaceMode.TARGET:
      checkNamePart(`${field}.target_id`, options.targetId, 256);
      return { is: "target", targetId: options.targetId };
    case NamespaceMode.POD:
      if (pod.pid === "container")
        throw unsupportedHere(
          `${field}.pid`,
          "is POD, but the pod was made with CONTAINER and has no PID namespace to share",
        );
      return podsPid(pod);
    default:
      throw invalidField(`${field}.pid`, `${String(options.pid)} is not a mode of the CRI`);
  }
}
