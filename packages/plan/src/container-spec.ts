import type { LinuxSpec } from "@keelson/oci/runtime-spec/linux.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { SeccompSpec } from "@keelson/oci/runtime-spec/seccomp.ts";
import type { ProcessSpec, RootSpec, Spec } from "@keelson/oci/runtime-spec/spec.ts";
import { capabilitiesSpec } from "./capabilities.ts";
import type { ContainerPlan } from "./container-plan.ts";
import { deviceRules, devicesSpec, type ResolvedDevice } from "./devices.ts";
import type { HostFacts } from "./host-facts.ts";
import { mountsSpec, rootfsPropagation, type PodFilePaths, type SourceTraits } from "./mounts-spec.ts";
import { namespacesSpec, type NamespacePaths } from "./namespaces.ts";
import type { PodPlan } from "./pod-plan.ts";
import { defaultSeccomp } from "./seccomp/default-profile.ts";
import { checkUserIsMapped, mappingsSpec } from "./user-namespace.ts";
import type { ResolvedUser } from "./user.ts";

/** The plan, and what was found on the machine for it. */
export interface ContainerSpecInput {
  plan: ContainerPlan;
  pod: PodPlan;
  host: HostFacts;
  /** The container's root file system: absolute, or relative to the bundle. */
  rootfsPath: string;
  /** From `resolveUser(plan.user, …)` with the image's files. */
  user: ResolvedUser;
  namespacePaths: NamespacePaths;
  podFiles: PodFilePaths;
  /** For each of `plan.mounts`, where its source is on this machine, with symbolic links resolved. */
  mountSources: readonly string[];
  /** See SourceTraits. */
  sourceTraits: Readonly<Record<string, SourceTraits>>;
  /** The nodes behind `plan.devices`; a directory of devices gives more than one. */
  devices: readonly ResolvedDevice[];
  /** Every device in the host's /dev; used for privileged containers only. */
  hostDevices: readonly ResolvedDevice[];
  /** The container may use every device for which it has a node or makes one. */
  allDevicesAllowed: boolean;
  /** From `parseSeccompProfile`, with the file that `plan.seccomp` names when it is `localhost`. */
  localhostSeccomp?: SeccompSpec;
}

/**
 * CRI plan → OCI runtime spec. The same input gives the same JSON. Throws InvalidArgument for a user that the pod's
 * user namespace does not have.
 */
export function containerSpec(input: ContainerSpecInput): Spec {
  const { plan, pod, podFiles, mountSources, host } = input;
  checkUserIsMapped(input.user, pod.userNamespace);
  return {
    // The lowest version with all of these properties: crun 1.8 refuses versions newer than its own.
    ociVersion: "1.0.2",
    process: processOf(input),
    root: rootOf(input),
    // No hostname: the pod's UTS namespace has it already, and the host's must not be changed.
    mounts: mountsSpec({
      mounts: plan.mounts,
      pod,
      podFiles,
      mountSources,
      sourceTraits: input.sourceTraits,
      privileged: plan.privileged,
      readonlyRootfs: plan.readonlyRootfs,
      ownCgroupNamespace: plan.ownCgroupNamespace,
      host,
    }),
    annotations: plan.specAnnotations,
    linux: linuxOf(input),
  };
}

function processOf({ plan, user }: ContainerSpecInput): ProcessSpec {
  return {
    terminal: plan.tty,
    user,
    args: plan.args,
    env: plan.env,
    cwd: plan.cwd,
    capabilities: capabilitiesSpec(plan.capabilities),
    noNewPrivileges: plan.noNewPrivileges,
    ...(plan.appArmorProfile === undefined ? {} : { apparmorProfile: plan.appArmorProfile }),
    ...(plan.seLinux === undefined ? {} : { selinuxLabel: plan.seLinux.process }),
    oomScoreAdj: plan.oomScoreAdj.value,
    ...(plan.rlimits.length > 0 ? { rlimits: plan.rlimits } : {}),
  };
}

function rootOf({ plan, rootfsPath }: ContainerSpecInput): RootSpec {
  return { path: rootfsPath, readonly: plan.readonlyRootfs };
}

function linuxOf(input: ContainerSpecInput): LinuxSpec {
  const { plan, pod, namespacePaths, devices } = input;
  const nodes = devicesSpec(devices, plan.privileged ? input.hostDevices : []);
  const seccomp = seccompOf(input);
  const propagation = rootfsPropagation(plan.mounts);
  return {
    ...(pod.userNamespace === undefined
      ? {}
      : { uidMappings: mappingsSpec(pod.userNamespace.uids), gidMappings: mappingsSpec(pod.userNamespace.gids) }),
    namespaces: namespacesSpec(plan.pidNamespace, pod, namespacePaths, plan.ownCgroupNamespace),
    ...(nodes.length > 0 ? { devices: nodes } : {}),
    cgroupsPath: plan.cgroup.cgroupsPath,
    // The pod's sysctls are already set in its namespaces.
    resources: resourcesOf(input),
    ...(seccomp === undefined ? {} : { seccomp }),
    ...(propagation === undefined ? {} : { rootfsPropagation: propagation }),
    maskedPaths: plan.protectedPaths.masked,
    readonlyPaths: plan.protectedPaths.readonly,
    ...(plan.seLinux === undefined ? {} : { mountLabel: plan.seLinux.mount }),
  };
}

function resourcesOf({ plan, devices, allDevicesAllowed }: ContainerSpecInput): ResourcesSpec {
  return { devices: deviceRules(devices, allDevicesAllowed), ...plan.resources };
}

function seccompOf({ plan, host, localhostSeccomp }: ContainerSpecInput): SeccompSpec | undefined {
  switch (plan.seccomp.is) {
    case "none":
      return undefined;
    case "default":
      return defaultSeccomp(host.arch, plan.capabilities.granted);
    case "localhost":
      // A programming error. A container must never run with less protection than was asked for.
      if (localhostSeccomp === undefined) throw new Error(`the seccomp profile ${plan.seccomp.path} has not been read`);
      return localhostSeccomp;
  }
}
