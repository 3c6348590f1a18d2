import {
  NamespaceMode,
  type LinuxSandboxSecurityContext,
  type NamespaceOption,
  type PodSandboxConfig,
  type PodSandboxMetadata,
} from "@keelson/cri/gen/runtime/v1/api.ts";
import { planPodCgroup, type PodCgroup } from "./cgroup-path.ts";
import { checkHostPath, cleanPath } from "./clean-path.ts";
import { checkMetadataSize, checkNamePart, checkSingleLine, invalidField, quote } from "./field-check.ts";
import { type HandlerFacts, type HostFacts, lacking } from "./host-facts.ts";
import { resolvConf } from "./pod-files.ts";
import { planPortMappings, type PortMappingPlan } from "./port-mappings.ts";
import { refuseUnhonouredFields } from "./refused-fields.ts";
import { checkPodResources } from "./resource-update.ts";
import { planSeccomp } from "./security-profile.ts";
import { planPodSeLinux, type SeLinuxLabel } from "./selinux.ts";
import { defaultShmBytes, planShmSize, type ShmPolicy } from "./shm-size.ts";
import { planSysctls, type SysctlPlan, type SysctlPolicy } from "./sysctls.ts";
import { type IdMappings, planPodUserNamespace } from "./user-namespace.ts";

/** What we will do for a pod. Plain JSON: it is kept in the record. */
export interface PodPlan {
  id: string;
  metadata: PodSandboxMetadata;
  /** Unique among pods: `name_namespace_uid_attempt`. */
  nameKey: string;
  runtimeHandler: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  /** Absolute; empty when the pod has none, and then its containers cannot have logs. */
  logDirectory: string;
  /** Never empty: the machine's when the config has none. */
  hostname: string;
  /** The pod's user namespace, which owns its other namespaces; undefined: the host's. */
  userNamespace?: IdMappings;
  network: "own" | "host";
  ipc: "own" | "host";
  /** `host` when the network is the host's and no different hostname was asked for. */
  uts: "own" | "host";
  /**
   * `pod`: its containers share one, held by an init process or the sandbox. `container`: each container has its own,
   * and the pod itself needs none.
   */
  pid: "pod" | "container" | "host";
  sysctls: SysctlPlan[];
  /** The text of /etc/resolv.conf; undefined: a copy of the host's. */
  resolvConf?: string;
  portMappings: PortMappingPlan[];
  cgroup: PodCgroup;
  /** `container`: a container with the pod's id, made by the runtime, holds the pod. */
  sandbox: "none" | "container";
  /** The size of the tmpfs at /dev/shm; unused in the host's IPC namespace. */
  shmSizeBytes: number;
  /** CRI: privileged containers are only allowed in a privileged pod. */
  privileged: boolean;
  /** The label of its containers; undefined where SELinux does not confine them. */
  seLinux?: SeLinuxLabel;
}

/** What the daemon's configuration says about pods. */
export interface PodPolicy {
  readonly shm: ShmPolicy;
  readonly sysctls: SysctlPolicy;
}

/** The policy when the configuration says nothing. */
export const defaultPodPolicy: PodPolicy = {
  shm: { defaultBytes: defaultShmBytes, annotationIsAllowed: false },
  sysctls: { unprivilegedPorts: true, unprivilegedPing: true },
};

export interface PodPlanInput {
  readonly config: PodSandboxConfig;
  /** As it was asked for; empty: the default handler. */
  readonly runtimeHandler: string;
  readonly host: HostFacts;
  readonly handler: HandlerFacts;
  /** A new id. */
  readonly id: string;
  readonly policy?: PodPolicy;
}

/**
 * PodSandboxConfig → plan (CRI: RunPodSandbox). Throws InvalidArgument for a bad value and FailedPrecondition for what
 * this machine or handler does not support; each message begins with the field's name.
 */
export function planPodSandbox(input: PodPlanInput): PodPlan {
  const { config, runtimeHandler, host, handler, id, policy = defaultPodPolicy } = input;
  refuseUnhonouredFields("PodSandboxConfig", config);
  const metadata = checkMetadata(config.metadata);
  checkMetadataSize(config.labels, config.annotations);
  const security = config.linux?.securityContext;
  checkSecurity(security, host);
  checkPodResources("linux.overhead", config.linux?.overhead, host);
  checkPodResources("linux.resources", config.linux?.resources, host);
  const namespaces = planPodNamespaces(config, host, handler);
  const ownNetwork = namespaces.network === "own";
  const sharesWithHost = namespaces.pid === "host" || namespaces.ipc === "host";
  const seLinux = planPodSeLinux(security?.selinuxOptions, sharesWithHost, host);
  return {
    id,
    metadata,
    nameKey: `${metadata.name}_${metadata.namespace}_${metadata.uid}_${metadata.attempt}`,
    runtimeHandler,
    labels: { ...config.labels },
    annotations: { ...config.annotations },
    logDirectory: planLogDirectory(config.logDirectory),
    ...namespaces,
    sysctls: planSysctls(
      config.linux?.sysctls ?? {},
      { network: ownNetwork, ipc: namespaces.ipc === "own" },
      policy.sysctls,
    ),
    ...(config.dnsConfig === undefined ? {} : { resolvConf: resolvConf(config.dnsConfig) }),
    portMappings: planPortMappings(config.portMappings, ownNetwork),
    cgroup: planPodCgroup(config.linux?.cgroupParent ?? "", host.cgroupDriver, id),
    sandbox: handler.sandbox,
    shmSizeBytes: planShmSize(config.annotations, policy.shm),
    privileged: security?.privileged ?? false,
    ...(seLinux === undefined ? {} : { seLinux }),
  };
}

function checkMetadata(metadata: PodSandboxMetadata | undefined): PodSandboxMetadata {
  if (metadata === undefined) throw invalidField("metadata", "is missing: a pod needs a name, namespace and uid");
  checkNamePart("metadata.name", metadata.name, 253);
  checkNamePart("metadata.namespace", metadata.namespace, 253);
  checkNamePart("metadata.uid", metadata.uid, 253);
  const { name, uid, namespace, attempt } = metadata;
  return { name, uid, namespace, attempt };
}

type PodNamespaces = Pick<PodPlan, "hostname" | "userNamespace" | "network" | "ipc" | "uts" | "pid">;

function planPodNamespaces(config: PodSandboxConfig, host: HostFacts, handler: HandlerFacts): PodNamespaces {
  checkHostname(config.hostname);
  const options = config.linux?.securityContext?.namespaceOptions;
  const field = "linux.security_context.namespace_options";
  const userNamespace = planPodUserNamespace(`${field}.userns_options`, options?.usernsOptions, host, handler);
  if (options !== undefined && options.targetId !== "")
    throw invalidField(`${field}.target_id`, "is only for containers");
  const network = ownOrHost(`${field}.network`, options?.network);
  const hostname = config.hostname === "" ? host.hostname : config.hostname;
  const ipc = ownOrHost(`${field}.ipc`, options?.ipc);
  const pid = podPid(`${field}.pid`, options);
  if (network === "host" && handler.lacks?.hostNetwork === true)
    throw lacking(handler, `${field}.network`, "pods in the node's network", "host_network");
  if (pid === "host" && handler.lacks?.hostPid === true)
    throw lacking(handler, `${field}.pid`, "pods that see the node's processes", "host_pid");
  if (userNamespace !== undefined) checkOwned(field, { ipc, pid });
  return {
    hostname,
    ...(userNamespace === undefined ? {} : { userNamespace }),
    network,
    ipc,
    uts: network === "host" && hostname === host.hostname ? "host" : "own",
    pid,
  };
}

/**
 * The file systems of these namespaces, /dev/mqueue and /proc, can only be mounted by the namespaces' owner. The API of
 * Kubernetes refuses such pods too.
 */
function checkOwned(field: string, namespaces: Pick<PodPlan, "ipc" | "pid">): void {
  for (const kind of ["ipc", "pid"] as const) {
    if (namespaces[kind] === "host")
      throw invalidField(
        `${field}.${kind}`,
        "must not be NODE in a pod with a user namespace: nothing there could be used",
      );
  }
}

function ownOrHost(field: string, mode: NamespaceMode | undefined): "own" | "host" {
  if (mode === undefined || mode === NamespaceMode.POD) return "own";
  if (mode === NamespaceMode.NODE) return "host";
  throw invalidField(field, `must be POD or NODE for a pod`);
}

function podPid(field: string, options: NamespaceOption | undefined): PodPlan["pid"] {
  switch (options?.pid) {
    // CRI: the default is POD. That of a Kubernetes pod is CONTAINER, which a kubelet always sends.
    case undefined:
    case NamespaceMode.POD:
      return "pod";
    case NamespaceMode.CONTAINER:
      return "container";
    case NamespaceMode.NODE:
      return "host";
    case NamespaceMode.TARGET:
      throw invalidField(field, "must be POD, CONTAINER or NODE for a pod");
  }
}

/** hostname(7), and at most 64 bytes: uname(2). */
function checkHostname(hostname: string): void {
  if (hostname === "") return;
  if (hostname.length > 64 || !/^[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$/.test(hostname)) {
    throw invalidField(
      "hostname",
      `${quote(hostname)} must be 1 to 64 letters, digits, dots, hyphens or underscores that begin and end with a letter or digit`,
    );
  }
}

function planLogDirectory(directory: string): string {
  if (directory === "") return "";
  checkHostPath("log_directory", directory);
  checkSingleLine("log_directory", directory, 4095);
  return cleanPath(directory);
}

/**
 * A pod's user, groups and profiles are meant for the pod's own process. That does not exist, or it is an init process
 * of ours that runs no code of any image, so there is nothing to confine. A wrong value is an error all the same.
 */
function checkSecurity(security: LinuxSandboxSecurityContext | undefined, host: HostFacts): void {
  if (security === undefined) return;
  const field = "linux.security_context";
  if (security.runAsGroup !== undefined && security.runAsUser === undefined)
    throw invalidField(`${field}.run_as_group`, "needs run_as_user");
  planSeccomp(field, security, host);
}
