import { NamespaceMode, type NamespaceOption } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { NamespaceSpec } from "@keelson/oci/runtime-spec/linux.ts";
import { checkNamePart, invalidField, unsupportedHere } from "./field-check.ts";
import type { HostFacts } from "./host-facts.ts";
import type { PodPlan } from "./pod-plan.ts";
import { checkContainerUserNamespace } from "./user-namespace.ts";

/** The PID namespace of a container: the pod's, its own, the host's, or that of another container. */
export type PidNamespacePlan = { is: "pod" } | { is: "own" } | { is: "host" } | { is: "target"; targetId: string };

/** Paths of existing namespaces, pinned or `/proc/PID/ns/…`; the host's are left out. */
export interface NamespacePaths {
  user?: string;
  network?: string;
  ipc?: string;
  uts?: string;
  /** That of the pod's init process, or of the target container. */
  pid?: string;
}

/**
 * Which PID namespace a container gets. Network and IPC are always the pod's; asking for the host's in a pod with its
 * own is an error. Without namespace_options they are all the pod's. Throws InvalidArgument, or FailedPrecondition when
 * the container asks for a shared PID namespace and the pod was made without one.
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

/** The namespaces of the runtime spec; those that are not listed are the host's. */
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
 * Whether a container has its own cgroup namespace, which hides the host's tree on cgroup v2 (cgroup_namespaces(7)). As
 * in containerd and CRI-O, there is none on v1, where its mounts confuse older software, and none for privileged
 * containers, which are meant to see the host; except in a user namespace, where only a cgroup namespace of its own can
 * be mounted.
 */
export function hasCgroupNamespace(host: HostFacts, pod: Pick<PodPlan, "userNamespace">, privileged: boolean): boolean {
  return host.cgroupVersion === "v2" && (!privileged || pod.userNamespace !== undefined);
}

function joined(type: NamespaceSpec["type"], path: string | undefined): NamespaceSpec {
  // A programming error. Without the path the runtime would silently make a new namespace.
  if (path === undefined) throw new Error(`the path of the pod's ${type} namespace is missing`);
  return { type, path };
}

function podsPid(pod: PodPlan): PidNamespacePlan {
  return pod.pid === "container" ? { is: "own" } : { is: pod.pid };
}

function checkShared(field: string, mode: NamespaceMode, pods: "own" | "host"): void {
  // POD is the pod's namespace, which may be the host's if the pod's config said so.
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
