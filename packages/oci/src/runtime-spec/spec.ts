import type { IdMappingSpec, LinuxSpec } from "./linux.ts";

/**
 * `config.json` of an OCI bundle (https://github.com/opencontainers/runtime-spec/blob/main/config.md), with the names
 * used in JSON. A property that is not set is absent, never null.
 */
export interface Spec {
  /**
   * The lowest version of the specification with all properties used here: a runtime may refuse versions newer than its
   * own.
   */
  ociVersion: string;
  process?: ProcessSpec;
  root?: RootSpec;
  hostname?: string;
  domainname?: string;
  mounts?: MountSpec[];
  hooks?: HooksSpec;
  annotations?: Record<string, string>;
  linux?: LinuxSpec;
  /** Only for runtimes that use virtual machines. */
  vm?: VmSpec;
}

/** config.md#process. Also the input of `crun exec --process FILE` and of a shim's Exec. */
export interface ProcessSpec {
  terminal?: boolean;
  /** Only with `terminal`. */
  consoleSize?: { height: number; width: number };
  /** An absolute path inside the container. */
  cwd: string;
  env?: string[];
  args?: string[];
  user: UserSpec;
  capabilities?: CapabilitiesSpec;
  rlimits?: RlimitSpec[];
  noNewPrivileges?: boolean;
  apparmorProfile?: string;
  selinuxLabel?: string;
  oomScoreAdj?: number;
  ioPriority?: { class: "IOPRIO_CLASS_RT" | "IOPRIO_CLASS_BE" | "IOPRIO_CLASS_IDLE"; priority?: number };
  scheduler?: SchedulerSpec;
  /** The CPU affinity of an exec'ed process (since 1.2.1): lists such as `0-3,7`. */
  execCPUAffinity?: { initial?: string; final?: string };
}

/** config.md#posix-platform-user */
export interface UserSpec {
  uid: number;
  gid: number;
  umask?: number;
  additionalGids?: number[];
}

/** Names as in capabilities(7), such as `CAP_NET_ADMIN`. */
export interface CapabilitiesSpec {
  bounding?: string[];
  effective?: string[];
  inheritable?: string[];
  permitted?: string[];
  ambient?: string[];
}

/** `type` is a name from getrlimit(2), such as `RLIMIT_NOFILE`. */
export interface RlimitSpec {
  type: string;
  soft: number;
  hard: number;
}

/** config.md#linux-process, sched_setattr(2). */
export interface SchedulerSpec {
  policy: "SCHED_OTHER" | "SCHED_FIFO" | "SCHED_RR" | "SCHED_BATCH" | "SCHED_ISO" | "SCHED_IDLE" | "SCHED_DEADLINE";
  nice?: number;
  priority?: number;
  flags?: string[];
  runtime?: number;
  deadline?: number;
  period?: number;
}

/** config.md#root. `path` is absolute, or relative to the bundle. */
export interface RootSpec {
  path: string;
  readonly?: boolean;
}

/** config.md#mounts, in the order in which they are mounted. */
export interface MountSpec {
  destination: string;
  type?: string;
  source?: string;
  options?: string[];
  /** Only with the option `idmap` or `ridmap` (since 1.1). */
  uidMappings?: IdMappingSpec[];
  gidMappings?: IdMappingSpec[];
}

/** config.md#posix-platform-hooks */
export interface HooksSpec {
  /** Deprecated in favour of createRuntime, createContainer and startContainer. */
  prestart?: HookSpec[];
  createRuntime?: HookSpec[];
  createContainer?: HookSpec[];
  startContainer?: HookSpec[];
  poststart?: HookSpec[];
  poststop?: HookSpec[];
}

export interface HookSpec {
  /** Absolute. */
  path: string;
  args?: string[];
  env?: string[];
  /** Seconds. */
  timeout?: number;
}

/** config-vm.md */
export interface VmSpec {
  hypervisor?: { path: string; parameters?: string[] };
  kernel: { path: string; parameters?: string[]; initrd?: string };
  image?: { path: string; format: "raw" | "qcow2" | "vdi" | "vmdk" | "vhd" };
}
