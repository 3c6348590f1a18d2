import type { Log } from "@keelson/base/log.ts";
import type { OomScoreAdjPlan } from "@keelson/plan/resources.ts";

const warned = new WeakSet<Log>();

/** Warns, once for each log, that a container cannot have the oom_score_adj that it asks for. */
export function warnRaisedScore(log: Log, containerId: string, { value, raisedFrom }: OomScoreAdjPlan): void {
  if (raisedFrom === undefined || warned.has(log)) return;
  warned.add(log);
  log.warn(
    { containerId, asked: raisedFrom, given: value },
    "an oom_score_adj below keelsond's own needs CAP_SYS_RESOURCE; containers that ask for a lower one get keelsond's. This is logged only once",
  );
}
