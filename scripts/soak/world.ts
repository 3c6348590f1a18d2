/** What the clients have created and not begun to take down: it must be listed, READY and RUNNING, at any time. */
export class World {
  readonly readyPods = new Set<string>();
  readonly runningContainers = new Set<string>();
  /** Names of pods that a client creates, has or removes. The housekeeper removes others: their client went away. */
  readonly ownedPods = new Set<string>();
}

/** What was expected both before and after a call, and was not in its answer. */
export function missing(
  before: ReadonlySet<string>,
  after: ReadonlySet<string>,
  listed: ReadonlySet<string>,
): string[] {
  return [...before.intersection(after).difference(listed)];
}
