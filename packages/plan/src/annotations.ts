import type { LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import { type AnnotationGlobs, noAnnotations, passedAnnotations } from "./annotation-globs.ts";
import type { PodPlan } from "./pod-plan.ts";

/** What the annotations of a container's spec say about it. */
export interface ContainerIdentity {
  name: string;
  /** As the user wrote it. */
  imageName: string;
  /** The container's own; the handler's globs decide which of them the runtime sees. */
  annotations?: Readonly<Record<string, string>>;
}

/**
 * The annotations that tell runtimes what they run: shims of sandboxed runtimes (Kata, gVisor) use them to put a
 * container into its pod's virtual machine. They have both containerd's and CRI-O's names, as runtimes look for either.
 * Sorted, so that the same plan gives the same JSON. Those that the handler's globs let through come first, so that
 * none of them can replace ours.
 */
export function containerAnnotations(
  pod: PodPlan,
  container: ContainerIdentity,
  globs: AnnotationGlobs = noAnnotations,
): Record<string, string> {
  return {
    ...passedAnnotations(globs, pod.annotations, container.annotations),
    "io.kubernetes.cri-o.ContainerType": "container",
    "io.kubernetes.cri-o.SandboxID": pod.id,
    "io.kubernetes.cri.container-name": container.name,
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.image-name": container.imageName,
    ...sandboxIdentity(pod),
    // Without it crun puts the container into a cgroup below its scope, where it has neither limits nor statistics.
    ...(pod.cgroup.slice === undefined ? {} : { "run.oci.systemd.subgroup": "" }),
  };
}

/**
 * The same for a container that is its pod's sandbox. Kata sizes its virtual machine by the sum of the pod's
 * containers, which a kubelet sends in advance.
 */
export function sandboxAnnotations(
  pod: PodPlan,
  resources: LinuxContainerResources | undefined,
  globs: AnnotationGlobs,
): Record<string, string> {
  return {
    ...passedAnnotations(globs, pod.annotations),
    "io.kubernetes.cri-o.ContainerType": "sandbox",
    "io.kubernetes.cri-o.SandboxID": pod.id,
    "io.kubernetes.cri.container-type": "sandbox",
    ...(resources === undefined
      ? {}
      : {
          "io.kubernetes.cri.sandbox-cpu-period": String(resources.cpuPeriod),
          "io.kubernetes.cri.sandbox-cpu-quota": String(resources.cpuQuota),
          "io.kubernetes.cri.sandbox-cpu-shares": String(resources.cpuShares),
        }),
    ...sandboxIdentity(pod),
    ...(pod.logDirectory === "" ? {} : { "io.kubernetes.cri.sandbox-log-directory": pod.logDirectory }),
    ...(resources === undefined ? {} : { "io.kubernetes.cri.sandbox-memory": String(resources.memoryLimitInBytes) }),
    ...(pod.cgroup.slice === undefined ? {} : { "run.oci.systemd.subgroup": "" }),
  };
}

function sandboxIdentity({ id, metadata }: PodPlan): Record<string, string> {
  return {
    "io.kubernetes.cri.sandbox-id": id,
    "io.kubernetes.cri.sandbox-name": metadata.name,
    "io.kubernetes.cri.sandbox-namespace": metadata.namespace,
    "io.kubernetes.cri.sandbox-uid": metadata.uid,
  };
}
