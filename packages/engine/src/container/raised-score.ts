import type { Log } from "@keelson/base/log.ts";
import type { OomScoreAdjPlan } from "@keelson/plan/resources.ts";

const told = new WeakSet<Log>();

/** Says, once for each daemon, that a container cannot have the oom_score_adj that is asked for. */
export function tellRaisedScore(log: Log, containerId: string, { value, raisedFrom }: OomScoreAdjPlan): void {
  if (raisedFrom === undefined || told.has(log)) return;
  told.add(log);
  log.warn(
    { containerId, asked: raisedFrom, given: value },
    "an oom_score_adj below keelsond's own needs CAP_SYS_RESOURCE: containers that ask for a lower one get keelsond's; this is said once",
  );
}
