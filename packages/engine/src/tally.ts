import type { OperationRecord } from "./operations.ts";

/**
 * What was dropped or refused to stay within limits.
 * - calls: refused because too many were under way
 * - operations: refused because too many were still under way for clients that had disconnected
 * - exec_output: ExecSync commands whose output was truncated
 * - events: not sent to clients of GetContainerEvents that read too slowly
 * - spans: not accepted by the tracing collector
 * - detached_pods: no longer remembered as detached; detaching them again asks the plugins again
 */
export type Dropped = "calls" | "operations" | "exec_output" | "events" | "spans" | "detached_pods";

/** Receives what is worth counting; the daemon turns it into metrics. */
export interface Tally {
  dropped(what: Dropped, count?: number): void;
  /** @param reason CRI: ContainerStatus.reason */
  containerExited(reason: string): void;
  operationEnded(operation: OperationRecord): void;
}

/** Counts nothing. */
export const noTally: Tally = { dropped() {}, containerExited() {}, operationEnded() {} };
