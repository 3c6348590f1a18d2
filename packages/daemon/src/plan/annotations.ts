import type { PodPlan } from "./pod-plan.ts";

/** What the annotations of a container's spec tell. */
export interface ContainerIdentity {
  name: string;
  /** As the user wrote it. */
  imageName: string;
}

/**
 * The annotations by which runtimes know what they run: shims of sandboxed runtimes (Kata, gVisor)
 * put a container into its pod's virtual machine by them. Both families' names, containerd's and
 * CRI-O's, because runtimes look for either. Sorted, so that the same plan is the same JSON.
 */
export function containerAnnotations(pod: PodPlan, container: ContainerIdentity): Record<string, string> {
  const { id: podId, metadata } = pod;
  return {
    "io.kubernetes.cri-o.ContainerType": "container",
    "io.kubernetes.cri-o.SandboxID": podId,
    "io.kubernetes.cri.container-name": container.name,
    "io.kubernetes.cri.container-type": "container",
    "io.kubernetes.cri.image-name": container.imageName,
    "io.kubernetes.cri.sandbox-id": podId,
    "io.kubernetes.cri.sandbox-name": metadata.name,
    "io.kubernetes.cri.sandbox-namespace": metadata.namespace,
    "io.kubernetes.cri.sandbox-uid": metadata.uid,
    // crun would put the container into a cgroup below its scope, where neither its limits nor its numbers are.
    ...(pod.cgroup.slice === undefined ? {} : { "run.oci.systemd.subgroup": "" }),
  };
}
