import type { JoinedCalls } from "@keelson/base/joined-calls.ts";
import type { KeyedLock } from "@keelson/base/keyed-lock.ts";
import type { Log } from "@keelson/base/log.ts";
import type { ImageStore } from "@keelson/images/image-store.ts";
import type { PodNetwork } from "@keelson/networks/pod-network.ts";
import type { HostFacts } from "@keelson/plan/host-facts.ts";
import type { Runtimes } from "@keelson/runtimes/runtimes.ts";
import type { RecordStore } from "@keelson/store/record-store.ts";
import type { ContainerHost } from "./machine/container-host.ts";
import type { PodHost } from "./machine/pod-host.ts";
import type { ContainerRecord } from "./records/container-record.ts";
import type { OpenRecords } from "./records/open-records.ts";
import type { Paths } from "./records/paths.ts";
import type { PodRecord } from "./records/pod-record.ts";

/*
 * What functions below the calls may need, in small pieces: each function names those that it uses, as in
 * `Records & Clock`. `Deps` has all of them, and what only calls use.
 */

export interface Records {
  readonly pods: RecordStore<PodRecord>;
  readonly containers: RecordStore<ContainerRecord>;
}

/** How many records are so damaged that nobody can tell whose they are; see open-records.ts. */
export type StrayRows = Pick<OpenRecords, "strayRows">;

/** Whose turn it is, and what is already under way. */
export interface Turns {
  /** By pod id. Held by calls that change a pod or its containers, but never while waiting for one to stop. */
  readonly podLock: KeyedLock;
  /** Creations under way, by name: a retry joins them. */
  readonly creations: JoinedCalls<string>;
  /** Stops of containers under way; how long one takes depends on its grace period. */
  readonly stops: JoinedCalls<void>;
  /** Stops of pods and removals under way. */
  readonly takedowns: JoinedCalls<void>;
}

/** What pods and containers need from the machine, apart from runtimes and networks. */
export interface Machine {
  readonly host: HostFacts;
  /** The id of this boot; nothing from another boot still runs. */
  readonly bootId: string;
  readonly podHost: PodHost;
  readonly containerHost: ContainerHost;
}

/** The runtimes of all handlers, and the paths of the bundles that they get. */
export interface Handlers {
  readonly paths: Paths;
  readonly runtimes: Runtimes;
}

export interface Networks {
  readonly network: PodNetwork;
}

export interface Images {
  readonly images: Pick<ImageStore, "find" | "list" | "lowerDirectories" | "collectGarbage" | "remove" | "layers">;
}

/** Records how containers end. */
export interface Exits {
  readonly exits: {
    /** Watches a container whose monitor runs. If that has ended in the meantime, the end is recorded at once. */
    watch(record: ContainerRecord): void;
    /** Stops watching a container that is being removed. */
    forget(id: string): void;
  };
}

export interface Clock {
  /** ns since 1970. */
  nowNs(): bigint;
}

export interface Deadlines {
  /** How long a runtime may take to create a container, in ms. */
  readonly createTimeoutMs: number;
  /** How long cleaning up after a failed call may take, in ms. */
  readonly cleanupTimeoutMs: number;
}

export interface Logging {
  readonly log: Log;
}
