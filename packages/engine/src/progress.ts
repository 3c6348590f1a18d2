import type { Stage } from "@keelson/base/joined-calls.ts";

/** Where a call that is under way reports what it is doing. */
export interface Progress {
  /** Begins a stage, whose name comes from a small set for each call. Errors name the stage that they ended. */
  readonly stage: Stage;
  /** What the current stage is busy with, such as a container that it waits for. Errors name it by themselves. */
  readonly detail: Stage;
}

/** For work that nobody follows, such as recovery's. */
export const unfollowed: Progress = { stage: () => undefined, detail: () => undefined };
