import type { ImagePuller } from "@keelson/images/image-puller.ts";
import type { PodPolicy } from "@keelson/plan/pod-plan.ts";
import type { StreamingServer } from "@keelson/streaming/server.ts";
import type {
  Clock,
  Deadlines,
  Exits,
  Handlers,
  Images,
  Logging,
  Machine,
  Networks,
  Records,
  StrayRows,
  Turns,
} from "./capabilities.ts";
import type { CdiSpecDirs } from "./cdi/spec-dirs.ts";
import type { ContainerPolicy } from "./container/container-policy.ts";
import type { MountPolicy } from "./container/mount-sources.ts";
import type { ExecMemory } from "./exec-memory.ts";
import type { ProgramChecks } from "./holes/program-checks.ts";
import type { Operations } from "./operations.ts";
import type { Events } from "./records/events.ts";
import type { StatsCollector } from "./stats/collector.ts";
import type { Tally } from "./tally.ts";

/**
 * What the calls work with. The functions below them name the few capabilities that they need; joinParts assembles all.
 */
export interface Deps
  extends Records, StrayRows, Turns, Machine, Handlers, Networks, Images, Exits, Clock, Deadlines, Logging {
  readonly puller: Pick<ImagePuller, "pull" | "pullsInProgress" | "receivedBytes">;
  readonly events: Pick<Events, "follow">;
  readonly tally: Pick<Tally, "dropped">;
  readonly execMemory: Pick<ExecMemory, "open" | "limitBytes">;
  readonly operations: Pick<Operations, "begin" | "ofPod" | "running">;
  readonly stats: Pick<
    StatsCollector,
    "ofContainers" | "ofPods" | "podMetrics" | "metricDescriptors" | "containerStarted"
  >;
  readonly streaming: Pick<StreamingServer, "urlFor">;
  /** Names of images that garbage collection must spare, normalised. */
  readonly pinnedImages: ReadonlySet<string>;
  readonly mountPolicy: MountPolicy;
  readonly podPolicy: PodPolicy;
  readonly containerPolicy: ContainerPolicy;
  readonly cdi: Pick<CdiSpecDirs, "editsFor">;
  readonly holes: Pick<ProgramChecks, "found">;
  /** 64 random hex digits. */
  newId(): string;
}
