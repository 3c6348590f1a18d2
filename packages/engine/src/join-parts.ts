import { JoinedCalls } from "@keelson/base/joined-calls.ts";
import { KeyedLock } from "@keelson/base/keyed-lock.ts";
import { ExitWatch } from "./container/exit-watch.ts";
import { releaseContainer } from "./container/teardown.ts";
import type { Deps } from "./deps.ts";
import { ExecMemory } from "./exec-memory.ts";
import { Operations, type OperationRecord } from "./operations.ts";
import { Events } from "./records/events.ts";
import { askRuntimeOf } from "./stats/ask-runtime.ts";
import { StatsCollector, type StatsCollectorDeps } from "./stats/collector.ts";
import type { Tally } from "./tally.ts";

/** The parts that joinParts makes from the others. */
type Joined =
  | "podLock"
  | "creations"
  | "stops"
  | "takedowns"
  | "exits"
  | "operations"
  | "stats"
  | "events"
  | "tally"
  | "execMemory";

/** What an engine is made of: what is on disk, on the machine and in the configuration, or fakes of that in tests. */
export interface Parts extends Omit<Deps, Joined> {
  readonly tally: Tally;
  /** Called with each operation that has ended; `context` is the W3C traceparent that its client sent. */
  readonly onOperationEnded?: ((operation: OperationRecord, context: string | undefined) => void) | undefined;
  readonly usage: Pick<StatsCollectorDeps, "source" | "machine" | "available">;
  /** How long a call goes on after its client's deadline, so that a retry can join it, in ms. */
  readonly lingerMs: number;
  /** How long stopping a pod, or removing a pod or container, may take, in ms. */
  readonly stopTimeoutMs: number;
}

/** How often CPU time is read for `usage_nano_cores`, in ms; a rate covers at most about this time. */
const samplePeriodMs = 10_000;

/** Adds what can be made from the parts alone: locks, joined calls, watches and what follows the records. */
export function joinParts(parts: Parts): Deps & { readonly stats: StatsCollector } {
  const { log, paths, pods, containers, runtimes, containerHost, tally, nowNs, cleanupTimeoutMs, lingerMs } = parts;
  const podLock = new KeyedLock();
  const exits = new ExitWatch({
    paths,
    containers,
    containerHost,
    runtimes,
    log,
    nowNs,
    onExit: (reason) => tally.containerExited(reason),
    release: (id) => releaseContainer({ paths, containers, containerHost, podLock, runtimes, cleanupTimeoutMs }, id),
  });
  const operations = new Operations({
    nowNs,
    nowMs: () => performance.now(),
    onEnd(operation, context) {
      tally.operationEnded(operation);
      parts.onOperationEnded?.(operation, context);
    },
  });
  return {
    ...parts,
    podLock,
    execMemory: new ExecMemory(),
    creations: new JoinedCalls(lingerMs, parts.createTimeoutMs),
    stops: new JoinedCalls(lingerMs),
    takedowns: new JoinedCalls(lingerMs, parts.stopTimeoutMs),
    exits,
    operations,
    stats: new StatsCollector({
      ...parts.usage,
      log,
      paths,
      pods,
      containers,
      runtimeOf: (c) => askRuntimeOf({ paths, runtimes }, c),
      periodMs: samplePeriodMs,
    }),
    events: new Events({ pods, containers, nowNs, onDropped: (count) => tally.dropped("events", count) }),
  };
}
