import type { Stage } from "@keelson/base/joined-calls.ts";
import { wrapError } from "@keelson/base/status.ts";
import { traceContextOf } from "@keelson/cri/trace-context.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import type { Deps } from "../deps.ts";
import type { Operation } from "../operations.ts";
import type { ContainerRecord } from "../records/container-record.ts";

/**
 * Runs the body of an operation, which says what stage it is in, and within it what it is busy
 * with. What it throws begins with what was being done and the stage.
 *
 * @param tell whoever waits for it, if anybody does.
 */
export async function inStages<T>(
  operation: Operation,
  doing: string,
  tell: Stage,
  body: (stage: Stage, detail: Stage) => Promise<T>,
): Promise<T> {
  let current = "";
  const stage: Stage = (name) => {
    current = `: ${name}`;
    operation.stage(name);
    tell(name);
  };
  const detail: Stage = (name) => {
    operation.detail(name);
    tell(name);
  };
  return await traced(operation, async () => {
    try {
      return await body(stage, detail);
    } catch (error) {
      throw wrapError(doing + current, error);
    }
  });
}

/** Runs the body of an operation to its end, which the operation is told of. */
export async function traced<T>(operation: Operation, body: () => Promise<T>): Promise<T> {
  try {
    const result = await body();
    operation.end();
    return result;
  } catch (error) {
    operation.end(error);
    throw error;
  }
}

/** The operation that a call on a container is, for those who look at its pod. */
export function containerOperation(
  d: Pick<Deps, "operations" | "pods">,
  call: string,
  container: ContainerRecord,
  signal: AbortSignal,
): Operation {
  const podUid = d.pods.get(container.podId)?.plan.metadata.uid ?? "";
  return d.operations.begin(
    { call, name: container.config.metadata?.name ?? "", podUid, containerId: container.id },
    traceContextOf(signal),
  );
}

/** The operation that a call on a pod is. */
export function podOperation(
  d: Pick<Deps, "operations">,
  call: string,
  { metadata }: PodPlan,
  signal: AbortSignal,
): Operation {
  return d.operations.begin({ call, name: metadata.name, podUid: metadata.uid }, traceContextOf(signal));
}
