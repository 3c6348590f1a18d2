import type { LinuxContainerResources } from "@keelson/cri/gen/runtime/v1/api.ts";
import type { MountSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import type { AnnotationGlobs } from "./annotation-globs.ts";
import { sandboxAnnotations } from "./annotations.ts";
import { capabilitiesSpec } from "./capabilities.ts";
import { planSandboxCgroup } from "./cgroup-path.ts";
import type { HostFacts } from "./host-facts.ts";
import type { PodFilePaths } from "./mounts-spec.ts";
import { type NamespacePaths, namespacesSpec } from "./namespaces.ts";
import type { PodPlan } from "./pod-plan.ts";
import { defaultSeccomp } from "./seccomp/default-profile.ts";
import { mappingsSpec, nobodyOf } from "./user-namespace.ts";

/** What has been made for a pod's sandbox. */
export interface SandboxSpecInput {
  readonly pod: PodPlan;
  readonly host: HostFacts;
  /** Contains `/hold`, a program that does nothing until SIGTERM ends it. */
  readonly rootfsPath: string;
  readonly namespacePaths: NamespacePaths;
  readonly podFiles: Pick<PodFilePaths, "hostname" | "resolvConf" | "shm">;
  /** CRI: LinuxPodSandboxConfig.resources, the sum of the pod's containers. */
  readonly resources: LinuxContainerResources | undefined;
  /** Which of the pod's annotations the handler's runtime may see. */
  readonly annotationGlobs: AnnotationGlobs;
}

/** When the sandbox dies, so do all containers of the pod: it must be the last to be killed when memory runs out. */
const oomScoreAdj = -998;

/**
 * The spec of the container that is a pod's sandbox. The same input gives the same JSON. It has no limits, as the pod's
 * limits are set on the pod's cgroup.
 */
export function sandboxSpec({
  pod,
  host,
  rootfsPath,
  namespacePaths,
  podFiles,
  resources,
  annotationGlobs,
}: SandboxSpecInput): Spec {
  const nobody = pod.userNamespace === undefined ? 65_535 : nobodyOf(pod.userNamespace);
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: false,
      user: { uid: nobody, gid: nobody },
      args: ["/hold", "--hold"],
      env: [],
      cwd: "/",
      capabilities: capabilitiesSpec({ granted: [], ambient: [] }),
      noNewPrivileges: true,
      oomScoreAdj: Math.max(oomScoreAdj, host.oomScoreAdjMin),
    },
    root: { path: rootfsPath, readonly: true },
    // Like the sysctls: already set in the pod's namespace, but a sandbox with its own kernel learns it only from here.
    ...(pod.uts === "own" && pod.userNamespace === undefined ? { hostname: pod.hostname } : {}),
    mounts: mountsOf(pod, podFiles),
    annotations: sandboxAnnotations(pod, resources, annotationGlobs),
    linux: {
      ...(pod.userNamespace === undefined
        ? {}
        : { uidMappings: mappingsSpec(pod.userNamespace.uids), gidMappings: mappingsSpec(pod.userNamespace.gids) }),
      namespaces: namespacesSpec({ is: pod.pid === "host" ? "host" : "own" }, pod, namespacePaths, false),
      cgroupsPath: planSandboxCgroup(pod).cgroupsPath,
      // Already set in the pod's namespaces, but a sandbox with its own kernel learns them only from here. Not with a
      // user namespace: the runtime would set them from inside it, where the host's ids do not exist.
      ...(pod.sysctls.length > 0 && pod.userNamespace === undefined
        ? { sysctl: Object.fromEntries(pod.sysctls.map((s) => [s.name, s.value])) }
        : {}),
      resources: { devices: [{ allow: false, access: "rwm" }] },
      ...(host.seccompEnabled ? { seccomp: defaultSeccomp(host.arch, []) } : {}),
    },
  };
}

/** A virtual machine takes its resolver settings and the size of /dev/shm from these. */
function mountsOf(pod: PodPlan, podFiles: SandboxSpecInput["podFiles"]): MountSpec[] {
  const file = (destination: string, source: string): MountSpec => ({
    destination,
    type: "bind",
    source,
    options: ["bind", "ro", "nosuid", "nodev", "noexec"],
  });
  return [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "noexec", "strictatime", "mode=755", "size=64k"],
    },
    ...(pod.ipc === "own"
      ? [
          {
            destination: "/dev/shm",
            type: "bind",
            source: podFiles.shm,
            options: ["bind", "rw", "nosuid", "nodev", "noexec"],
          },
        ]
      : []),
    file("/etc/hostname", podFiles.hostname),
    file("/etc/resolv.conf", podFiles.resolvConf),
  ];
}
