/**
 * `linux.resources` of config.json (config-linux.md#control-groups). `crun update --resources -` and a shim's Update
 * read the same JSON. -1 means no limit where the kernel has such a value.
 */
export interface ResourcesSpec {
  devices?: DeviceRuleSpec[];
  memory?: MemorySpec;
  cpu?: CpuSpec;
  /** An absent limit is not changed, -1 means none. Only newer versions of the specification allow leaving it out. */
  pids?: { limit?: number };
  blockIO?: BlockIoSpec;
  hugepageLimits?: { pageSize: string; limit: number }[];
  network?: { classID?: number; priorities?: { name: string; priority: number }[] };
  /** By device name, such as `mlx5_1`. */
  rdma?: Record<string, { hcaHandles?: number; hcaObjects?: number }>;
  /** Files of cgroup v2, such as `memory.high`, and what is written to them. */
  unified?: Record<string, string>;
}

/** An absent major or minor number means all. */
export interface DeviceRuleSpec {
  allow: boolean;
  type?: "a" | "b" | "c";
  major?: number;
  minor?: number;
  /** A combination of `r`, `w` and `m`. */
  access?: string;
}

/** Bytes. */
export interface MemorySpec {
  limit?: number;
  reservation?: number;
  /** Memory and swap together, as in cgroup v1; runtimes convert it for v2. */
  swap?: number;
  kernel?: number;
  kernelTCP?: number;
  swappiness?: number;
  disableOOMKiller?: boolean;
  useHierarchy?: boolean;
  checkBeforeUpdate?: boolean;
}

/** Times in microseconds. */
export interface CpuSpec {
  shares?: number;
  quota?: number;
  burst?: number;
  period?: number;
  realtimeRuntime?: number;
  realtimePeriod?: number;
  cpus?: string;
  mems?: string;
  idle?: number;
}

export interface BlockIoSpec {
  weight?: number;
  leafWeight?: number;
  weightDevice?: { major: number; minor: number; weight?: number; leafWeight?: number }[];
  throttleReadBpsDevice?: ThrottleSpec[];
  throttleWriteBpsDevice?: ThrottleSpec[];
  throttleReadIOPSDevice?: ThrottleSpec[];
  throttleWriteIOPSDevice?: ThrottleSpec[];
}

export interface ThrottleSpec {
  major: number;
  minor: number;
  /** Bytes or operations per second. */
  rate: number;
}
