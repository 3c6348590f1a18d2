import type { KeyedLock } from "@keelson/base/keyed-lock.ts";
import type { JoinedCalls } from "@keelson/base/joined-calls.ts";
import type { Log } from "@keelson/base/log.ts";
import type { CdiSpecDirs } from "./cdi/spec-dirs.ts";
import type { ContainerPolicy } from "./container/container-policy.ts";
import type { ContainerHost } from "./machine/container-host.ts";
import type { ContainerRecord } from "./records/container-record.ts";
import type { ExitWatch } from "./container/exit-watch.ts";
import type { MountPolicy } from "./container/mount-sources.ts";
import type { Events } from "./records/events.ts";
import type { ImagePuller } from "@keelson/images/pull.ts";
import type { ImageStore } from "@keelson/images/store.ts";
import type { DaemonMetrics } from "@keelson/daemon/metrics/daemon-metrics.ts";
import type { PodNetworks } from "@keelson/networks/pod-networks.ts";
import type { Paths } from "./records/paths.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import type { PodPolicy } from "@keelson/plan/pod-plan.ts";
import type { PodHost } from "./machine/pod-host.ts";
import type { PodRecord } from "./records/pod-record.ts";
import type { RecordStore } from "@keelson/store/record-store.ts";
import type { Runtimes } from "@keelson/runtimes/runtimes.ts";
import type { Operations } from "./operations.ts";
import type { StatsCollector } from "./stats/collector.ts";
import type { StreamingServer } from "@keelson/streaming/server.ts";

/** What the calls work with; built in main.ts and nowhere else. */
export interface Deps {
  readonly log: Log;
  readonly paths: Paths;
  readonly host: HostFacts;
  readonly bootId: string;
  readonly pods: RecordStore<PodRecord>;
  readonly containers: RecordStore<ContainerRecord>;
  /** By pod id: held by calls that change a pod or its containers, never while waiting for one to stop. */
  readonly podLock: KeyedLock;
  /** Creations under way, by name: a retry joins them. */
  readonly creations: JoinedCalls<string>;
  /** Stops of containers under way; how long one takes is up to its grace period. */
  readonly stops: JoinedCalls<void>;
  /** Stops of pods and removals under way. */
  readonly takedowns: JoinedCalls<void>;
  readonly podHost: PodHost;
  readonly containerHost: ContainerHost;
  readonly runtimes: Runtimes;
  readonly events: Pick<Events, "follow">;
  readonly exits: Pick<ExitWatch, "watch" | "forget">;
  readonly metrics: DaemonMetrics;
  readonly operations: Pick<Operations, "begin" | "ofPod" | "running">;
  readonly stats: Pick<StatsCollector, "ofContainers" | "ofPods" | "podMetrics" | "metricDescriptors" | "containerStarted">;
  readonly network: Pick<PodNetworks, "attach" | "detach" | "status" | "collectGarbage" | "updateRuntimeConfig">;
  readonly images: Pick<ImageStore, "find" | "list" | "lowerDirectories" | "collectGarbage" | "remove" | "layers">;
  readonly puller: Pick<ImagePuller, "pull" | "pullsInProgress" | "receivedBytes">;
  readonly streaming: Pick<StreamingServer, "urlFor">;
  /** Names of images that garbage collection must spare, normalised. */
  readonly pinnedImages: ReadonlySet<string>;
  readonly mountPolicy: MountPolicy;
  readonly podPolicy: PodPolicy;
  readonly containerPolicy: ContainerPolicy;
  readonly cdi: Pick<CdiSpecDirs, "editsFor">;
  /** How long a runtime may take to create a container, in ms. */
  readonly createTimeoutMs: number;
  /** How long taking down what a failed call left may take, in ms. */
  readonly cleanupTimeoutMs: number;
  /** 64 random hex digits. */
  newId(): string;
  /** ns since 1970. */
  nowNs(): bigint;
}
