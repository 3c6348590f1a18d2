import type { ResourcesSpec } from "./resources.ts";
import type { SeccompSpec } from "./seccomp.ts";

/** The `linux` part of config.json (https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md). */
export interface LinuxSpec {
  namespaces?: NamespaceSpec[];
  uidMappings?: IdMappingSpec[];
  gidMappings?: IdMappingSpec[];
  timeOffsets?: Record<"monotonic" | "boottime", { secs?: number; nanosecs?: number }>;
  devices?: DeviceSpec[];
  /** Network devices of the host that are moved into the container, by their name on the host (since 1.3). */
  netDevices?: Record<string, { name?: string }>;
  /** A path under the cgroup root, or `slice:prefix:name` for systemd. */
  cgroupsPath?: string;
  resources?: ResourcesSpec;
  intelRdt?: IntelRdtSpec;
  sysctl?: Record<string, string>;
  seccomp?: SeccompSpec;
  rootfsPropagation?: "shared" | "slave" | "private" | "unbindable";
  maskedPaths?: string[];
  readonlyPaths?: string[];
  mountLabel?: string;
  personality?: { domain: "LINUX" | "LINUX32"; flags?: string[] };
  /** NUMA policy of the process, set_mempolicy(2) (since 1.3). */
  memoryPolicy?: { mode: string; nodes: string; flags?: string[] };
}

/**
 * With a path, an existing namespace is joined; without one, a new one is made. Types that are not listed are the
 * runtime's.
 */
export interface NamespaceSpec {
  type: "pid" | "network" | "mount" | "ipc" | "uts" | "user" | "cgroup" | "time";
  path?: string;
}

/** config-linux.md#devices: mknod(2) inside the container. */
export interface DeviceSpec {
  type: "c" | "b" | "u" | "p";
  path: string;
  major?: number;
  minor?: number;
  fileMode?: number;
  uid?: number;
  gid?: number;
}

/** config-linux.md#intelrdt */
export interface IntelRdtSpec {
  closID?: string;
  l3CacheSchema?: string;
  memBwSchema?: string;
  schemata?: string[];
  /** Since 1.3; replaces the two below. */
  enableMonitoring?: boolean;
  enableCMT?: boolean;
  enableMBM?: boolean;
}

/** user_namespaces(7): `size` ids, from `containerID` on inside and from `hostID` on outside. */
export interface IdMappingSpec {
  containerID: number;
  hostID: number;
  size: number;
}
