/** A process by its pid and its start time, in clock ticks since boot, so that a reused pid is not mistaken for it. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: number;
}
