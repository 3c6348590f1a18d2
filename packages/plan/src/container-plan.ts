import type {
  ContainerConfig,
  ContainerMetadata,
  LinuxContainerSecurityContext,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import type { ResourcesSpec } from "@keelson/oci/runtime-spec/resources.ts";
import type { RlimitSpec } from "@keelson/oci/runtime-spec/spec.ts";
import type { AnnotationGlobs } from "./annotation-globs.ts";
import { containerAnnotations } from "./annotations.ts";
import { planCapabilities, type CapabilityPlan } from "./capabilities.ts";
import { planCdiDevices } from "./cdi.ts";
import { planContainerCgroup, type ContainerCgroup } from "./cgroup-path.ts";
import { cleanPath } from "./clean-path.ts";
import { planDevices, type DeviceRequest } from "./devices.ts";
import { checkMetadataSize, checkNamePart, checkSingleLine, invalidField, quote } from "./field-check.ts";
import type { HandlerFacts, HostFacts } from "./host-facts.ts";
import { planMounts, type MountPlan } from "./mounts.ts";
import { hasCgroupNamespace, planContainerNamespaces, type PidNamespacePlan } from "./namespaces.ts";
import type { PodPlan } from "./pod-plan.ts";
import { planArgs, planCwd, planEnv, type ImageDefaults } from "./process.ts";
import { planProtectedPaths, type ProtectedPaths } from "./protected-paths.ts";
import { refuseUnhonouredFields } from "./refused-fields.ts";
import { planResourceClasses, type ResourceClasses } from "./resource-classes.ts";
import { planOomScoreAdj, planResources, type OomScoreAdjPlan } from "./resources.ts";
import { planAppArmor, planSeccomp, type SeccompPlan } from "./security-profile.ts";
import { planContainerSeLinux, type SeLinuxSpec } from "./selinux.ts";
import { planStopSignal, type StopSignal } from "./signals.ts";
import { planUser, type UserRequest } from "./user.ts";

export interface ContainerPlanInput {
  config: ContainerConfig;
  pod: PodPlan;
  image: { id: string; config: ImageDefaults };
  host: HostFacts;
  handler: HandlerFacts;
  id: string;
  /** What the daemon's configuration gives to every container. */
  defaults: ContainerDefaults;
  /** Which annotations the handler's runtime may see. */
  annotationGlobs?: AnnotationGlobs;
}

export interface ContainerDefaults {
  /** Processes and threads; 0 is no limit. */
  pidsLimit: number;
  rlimits: readonly RlimitSpec[];
}

/** What we will do for a container, before looking at anything on the machine. Plain JSON: it is kept in the record. */
export interface ContainerPlan {
  id: string;
  podId: string;
  metadata: ContainerMetadata;
  /** Unique among containers: `name_podname_namespace_poduid_attempt`. */
  nameKey: string;
  imageId: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  /** Absolute; undefined when no log is wanted. */
  logPath?: string;
  stdin: boolean;
  stdinOnce: boolean;
  tty: boolean;
  stopSignal: StopSignal;
  args: string[];
  env: string[];
  cwd: string;
  user: UserRequest;
  capabilities: CapabilityPlan;
  privileged: boolean;
  noNewPrivileges: boolean;
  readonlyRootfs: boolean;
  oomScoreAdj: OomScoreAdjPlan;
  seccomp: SeccompPlan;
  appArmorProfile?: string;
  seLinux?: SeLinuxSpec;
  pidNamespace: PidNamespacePlan;
  ownCgroupNamespace: boolean;
  cgroup: ContainerCgroup;
  resources: ResourcesSpec;
  classes: ResourceClasses;
  rlimits: RlimitSpec[];
  mounts: MountPlan[];
  devices: DeviceRequest[];
  /** Such as `vendor.com/class=name`; no duplicates. */
  cdiDevices: string[];
  protectedPaths: ProtectedPaths;
  specAnnotations: Record<string, string>;
}

/**
 * ContainerConfig and image → plan (CRI: CreateContainer). Throws InvalidArgument for a bad value, FailedPrecondition
 * for what this machine, pod or handler does not support; each message begins with the field's name.
 */
export function planContainer(input: ContainerPlanInput): ContainerPlan {
  const { config, pod, image, host, handler, id, defaults } = input;
  refuseUnhonouredFields("ContainerConfig", config);
  const metadata = checkMetadata(config.metadata);
  checkMetadataSize(config.labels, config.annotations);
  const logPath = planLogPath(pod.logDirectory, config.logPath);
  return {
    id,
    podId: pod.id,
    metadata,
    nameKey: [metadata.name, pod.metadata.name, pod.metadata.namespace, pod.metadata.uid, metadata.attempt].join("_"),
    imageId: image.id,
    labels: { ...config.labels },
    annotations: { ...config.annotations },
    ...(logPath === undefined ? {} : { logPath }),
    ...planStreams(config),
    stopSignal: planStopSignal(config.stopSignal, image.config.stopSignal),
    args: planArgs(config, image.config),
    env: planEnv(config, image.config, pod.hostname),
    cwd: planCwd(config.workingDir, image.config),
    ...planSecurity(config.linux?.securityContext, image.config, pod, host),
    oomScoreAdj: planOomScoreAdj("linux.resources", config.linux?.resources, host),
    cgroup: planContainerCgroup(pod.cgroup, id),
    resources: { ...planResources("linux.resources", config.linux?.resources, host), ...planPids(defaults, host) },
    classes: planResourceClasses(metadata.name, config.annotations, pod.annotations),
    rlimits: [...defaults.rlimits],
    mounts: planMounts(config.mounts, image.config.volumes, { pod, handler, host }),
    devices: planDevices(config.devices, handler),
    cdiDevices: planCdiDevices(config.CDIDevices, config.annotations),
    specAnnotations: containerAnnotations(
      pod,
      { name: metadata.name, imageName: imageNameOf(config), annotations: config.annotations },
      input.annotationGlobs,
    ),
  };
}

function checkMetadata(metadata: ContainerMetadata | undefined): ContainerMetadata {
  if (metadata === undefined) throw invalidField("metadata", "is missing: a container needs a name");
  checkNamePart("metadata.name", metadata.name, 253);
  return { name: metadata.name, attempt: metadata.attempt };
}

function planStreams(config: ContainerConfig): Pick<ContainerPlan, "stdin" | "stdinOnce" | "tty"> {
  if (config.stdinOnce && !config.stdin) throw invalidField("stdin_once", "needs stdin");
  return { stdin: config.stdin, stdinOnce: config.stdinOnce, tty: config.tty };
}

/** CRI: the log's path is relative to the pod's log_directory, where the kubelet reads it. */
function planLogPath(directory: string, path: string): string | undefined {
  if (path === "") return undefined;
  checkSingleLine("log_path", path, 4095);
  if (directory === "")
    throw invalidField("log_path", `${quote(path)} is relative to log_directory, which the pod's config does not have`);
  const inside = cleanPath(path);
  if (inside === "/") throw invalidField("log_path", `${quote(path)} does not name a file`);
  if (path.split("/").includes("..")) throw invalidField("log_path", `${quote(path)} must not have .. in it`);
  return `${directory === "/" ? "" : directory}${inside}`;
}

type SecurityPlan = Pick<
  ContainerPlan,
  | "user"
  | "capabilities"
  | "privileged"
  | "noNewPrivileges"
  | "readonlyRootfs"
  | "seccomp"
  | "appArmorProfile"
  | "seLinux"
  | "pidNamespace"
  | "ownCgroupNamespace"
  | "protectedPaths"
>;

function planSecurity(
  security: LinuxContainerSecurityContext | undefined,
  image: ImageDefaults,
  pod: PodPlan,
  host: HostFacts,
): SecurityPlan {
  const field = "linux.security_context";
  const privileged = security?.privileged ?? false;
  if (privileged && !pod.privileged)
    throw invalidField(`${field}.privileged`, "is only allowed in a pod whose own security_context is privileged");
  const seLinux = planContainerSeLinux(security?.selinuxOptions, pod.seLinux, privileged, host);
  const appArmorProfile = planAppArmor(
    field,
    security ?? { privileged, apparmor: undefined, apparmorProfile: "" },
    host,
  );
  return {
    user: planUser(security, image.user),
    capabilities: planCapabilities(security?.capabilities, privileged, host.capabilities),
    privileged,
    noNewPrivileges: security?.noNewPrivs ?? false,
    readonlyRootfs: security?.readonlyRootfs ?? false,
    seccomp: security === undefined ? { is: "none" } : planSeccomp(field, security, host),
    ...(appArmorProfile === undefined ? {} : { appArmorProfile }),
    ...(seLinux === undefined ? {} : { seLinux }),
    pidNamespace: planContainerNamespaces(security?.namespaceOptions, pod),
    ownCgroupNamespace: hasCgroupNamespace(host, pod, privileged),
    protectedPaths: planProtectedPaths(security),
  };
}

function planPids({ pidsLimit }: ContainerDefaults, host: HostFacts): Pick<ResourcesSpec, "pids"> {
  return pidsLimit === 0 || !host.controllers.includes("pids") ? {} : { pids: { limit: pidsLimit } };
}

/** CRI: user_specified_image is what the user wrote; by now `image` may be an id. */
function imageNameOf(config: ContainerConfig): string {
  const { userSpecifiedImage = "", image = "" } = config.image ?? {};
  return userSpecifiedImage === "" ? image : userSpecifiedImage;
}
