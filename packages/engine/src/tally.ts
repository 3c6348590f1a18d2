import type { OperationRecord } from "./operations.ts";

/**
 * What was thrown away to stay within bounds.
 * - calls: refused because too many were under way
 * - operations: refused because too many were still under way, their clients gone
 * - exec_output: commands of ExecSync whose output was cut
 * - events: not given to clients of GetContainerEvents that were too slow to read them
 * - spans: of tracing, not taken by the collector
 * - detached_pods: forgotten to be detached; a repeated detach of them asks the plugins again
 */
export type Dropped = "calls" | "operations" | "exec_output" | "events" | "spans" | "detached_pods";

/** Told of what is worth counting; the daemon makes metrics of it. */
export interface Tally {
  dropped(what: Dropped, count?: number): void;
  /** @param reason CRI: ContainerStatus.reason */
  containerExited(reason: string): void;
  operationEnded(operation: OperationRecord): void;
}

/** Counts nothing. */
export const noTally: Tally = { dropped() {}, containerExited() {}, operationEnded() {} };
