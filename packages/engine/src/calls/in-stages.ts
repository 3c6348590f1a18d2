import type { Stage } from "@keelson/base/joined-calls.ts";
import { wrapError } from "@keelson/base/status.ts";
import { traceContextOf } from "@keelson/cri/trace-context.ts";
import type { PodPlan } from "@keelson/plan/pod-plan.ts";
import type { Deps } from "../deps.ts";
import type { Operation } from "../operations.ts";
import type { Progress } from "../progress.ts";
import type { ContainerRecord } from "../records/container-record.ts";

/**
 * Runs the body of an operation and reports its progress to the operation and, through `notify`, to the callers that
 * wait for it. The message of an error begins with what was being done and the stage.
 */
export async function inStages<T>(
  operation: Operation,
  doing: string,
  notify: Stage,
  body: (progress: Progress) => Promise<T>,
): Promise<T> {
  let current = "";
  const stage: Stage = (name) => {
    current = `: ${name}`;
    operation.stage(name);
    notify(name);
  };
  const detail: Stage = (name) => {
    operation.detail(name);
    notify(name);
  };
  return await traced(operation, async () => {
    try {
      return await body({ stage, detail });
    } catch (error) {
      throw wrapError(doing + current, error);
    }
  });
}

/** Runs the body of an operation and records how it ended. */
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

/** Begins the operation of a call on a container, under the uid of its pod. */
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

/** Begins the operation of a call on a pod. */
export function podOperation(
  d: Pick<Deps, "operations">,
  call: string,
  { metadata }: PodPlan,
  signal: AbortSignal,
): Operation {
  return d.operations.begin({ call, name: metadata.name, podUid: metadata.uid }, traceContextOf(signal));
}
