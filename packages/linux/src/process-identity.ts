/** A process by pid and start time in clock ticks since boot, so that a reused pid is not taken for it. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: number;
}
