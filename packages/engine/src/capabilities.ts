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
 * What functions below the calls may need, in small pieces: each names those that it uses, `Records & Clock`. All of
 * them together, with what only calls use, are `Deps`.
 */

export interface Records {
  readonly pods: RecordStore<PodRecord>;
  readonly containers: RecordStore<ContainerRecord>;
}

/** How many records are so damaged that nobody can tell whose they are; see open-records.ts. */
export type StrayRows = Pick<OpenRecords, "strayRows">;

/** Who may work at what, and what is under way already. */
export interface Turns {
  /** By pod id: held by calls that change a pod or its containers, never while waiting for one to stop. */
  readonly podLock: KeyedLock;
  /** Creations under way, by name: a retry joins them. */
  readonly creations: JoinedCalls<string>;
  /** Stops of containers under way; how long one takes is up to its grace period. */
  readonly stops: JoinedCalls<void>;
  /** Stops of pods and removals under way. */
  readonly takedowns: JoinedCalls<void>;
}

/** What pods and containers need of the machine, apart from runtimes and networks. */
export interface Machine {
  readonly host: HostFacts;
  /** Of this boot; nothing that was made in another one runs. */
  readonly bootId: string;
  readonly podHost: PodHost;
  readonly containerHost: ContainerHost;
}

/** The runtimes of all handlers, and where the bundles are that they are given. */
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

/** Notes how containers end. */
export interface Exits {
  readonly exits: {
    /** Watches a container whose monitor runs; one that has ended meanwhile is noted at once. */
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
  /** How long taking down what a failed call left may take, in ms. */
  readonly cleanupTimeoutMs: number;
}

export interface Logging {
  readonly log: Log;
}
