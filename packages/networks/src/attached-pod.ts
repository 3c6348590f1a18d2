/** What the network is told of a pod. */
export interface AttachedPod {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  /** Where its network namespace is pinned. */
  readonly netnsPath: string;
  readonly portMappings: readonly {
    readonly protocol: "tcp" | "udp" | "sctp";
    readonly containerPort: number;
    /** 0: none, and then the mapping needs no work. */
    readonly hostPort: number;
    /** Empty: every address of the host. */
    readonly hostIP: string;
  }[];
  readonly annotations: Readonly<Record<string, string>>;
  readonly dns?: {
    readonly servers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
  /** The pod's cgroup parent as the kubelet wrote it. */
  readonly cgroupPath?: string;
  /** Where its network is configured; without it that is the default. */
  readonly confDir?: string | undefined;
  /** It runs in a sandbox, whose own network stack may take the addresses off the interface, as gVisor's does. */
  readonly isSandboxed?: boolean;
}
