/** What a network needs to know about a pod. */
export interface AttachedPod {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  /** The path where its network namespace is pinned. */
  readonly netnsPath: string;
  readonly portMappings: readonly {
    readonly protocol: "tcp" | "udp" | "sctp";
    readonly containerPort: number;
    /** 0: none, so there is nothing to map. */
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
  /** The pod's cgroup parent, as sent by the kubelet. */
  readonly cgroupPath?: string;
  /** The directory with its network's configuration; undefined: the default one. */
  readonly confDir?: string | undefined;
  /** It runs in a sandbox whose own network stack may remove the addresses from the interface, as gVisor's does. */
  readonly isSandboxed?: boolean;
}
